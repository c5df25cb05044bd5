"""Metrics, and the registry of scores."""

import dataclasses
import importlib.util
import shutil

import numpy as np
import pytest
from evaluation_data import attended_data, evaluation_data
from scene_examples import TWO, attending

from sat_tf.config import Config, from_flat
from sat_tf.errors import UserError
from sat_tf.metrics import registry
from sat_tf.metrics.grounding import GROUP
from sat_tf.metrics.registry import SCORES, check_scores, compute_scores, mean, ratio, register
from sat_tf.shapes.judge import scene_objects


def test_a_ratio_is_of_the_sums_not_the_mean_of_ratios():
    assert ratio([1, 2], [2, 10], scale=100).score == pytest.approx(25.0)


def test_a_ratio_with_nothing_to_count_is_zero():
    assert ratio([0, 0], [0, 0]).score == 0.0


def test_a_mean_weighs_all_images_equally():
    assert mean([1.0, 2.0, 6.0]).score == pytest.approx(3.0)


def test_statistics_of_several_corpora_at_once():
    metric = ratio([1, 2], [2, 10])
    sums = np.stack([metric.statistics[0], metric.statistics[1], metric.statistics.sum(axis=0)])
    np.testing.assert_allclose(metric.compute(sums), [0.5, 0.2, 0.25])


def monitored(name, **changes):
    return from_flat({"monitor": name, **changes})


PHOTOGRAPHS = {"dataset": "flickr8k", "data_dir": "d"}


def test_every_score_may_be_monitored_but_baselines_and_scores_of_some_models():
    others = {name for name, score in SCORES.items() if not score.can_monitor}
    grounding = {name for name, score in SCORES.items() if score.group == GROUP}
    own = {"pointing_accuracy", "attention_correctness"}
    assert own < grounding
    assert others == {
        *("beta_content", "beta_function", "relational_captions", "shuffled_true_captions"),
        *(grounding - own - {f"reference_{name}" for name in own}),
        *("fall_attended", "fall_least", "fall_random", "fall_average"),
        *("deletion", "insertion", "deletion_random"),
    }
    for name, score in SCORES.items():
        if score.can_monitor and score.in_validations:
            check_scores(monitored(name))


def test_lower_is_better_for_perplexity_and_entropy():
    lower = {name for name, score in SCORES.items() if not score.higher_is_better}
    assert lower == {"perplexity", "attention_entropy", "deletion"}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (monitored("bleu"), "--monitor=bleu: must be one of bleu_1, .*, vocab_size.*"),
        (monitored("pointing_uniform"), "--monitor=pointing_uniform: must be one of"),
        (monitored("true_captions", **PHOTOGRAPHS), "--monitor=true_captions needs --dataset=sh"),
        (monitored("pointing_accuracy", **PHOTOGRAPHS), "needs --boxes, or --dataset=shapes"),
        (
            monitored("state_sensitivity", batch_size=1),
            "--monitor=state_sens.* needs two validation images",
        ),
        (
            from_flat({"self_critical": "rouge_l", "start_from": "RUN"}),
            "--self_critical=rouge_l: must be one of none, bleu_4, cider$",
        ),
    ],
)
def test_unusable_scores_are_rejected(config, message):
    with pytest.raises(UserError, match=message):
        check_scores(config)


def test_boxes_make_pointing_usable():
    check_scores(monitored("pointing_accuracy", **PHOTOGRAPHS, boxes="instances.json"))


def test_without_java_meteor_is_left_out(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    reason = "needs Java, and there is no java on the PATH"
    assert registry.left_out() == {"meteor": reason}
    assert "meteor" not in compute_scores(evaluation_data(["a"]))
    check_scores(monitored("cider"))
    with pytest.raises(UserError, match=f"--monitor=meteor {reason}"):
        check_scores(monitored("meteor"))


def test_without_the_package_three_scores_are_left_out(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert list(registry.left_out()) == ["cider", "rouge_l", "meteor"]
    assert "cider" not in compute_scores(evaluation_data(["a"]))
    message = r"=cider needs .* pip install 'sat_tf\[metrics\]'"
    with pytest.raises(UserError, match=f"--monitor{message}"):
        check_scores(monitored("cider"))
    with pytest.raises(UserError, match=f"--self_critical{message}"):
        check_scores(from_flat({"self_critical": "cider", "start_from": "RUN"}))


@pytest.fixture
def registered(monkeypatch):
    """The registry, restored after the test."""
    monkeypatch.setattr(registry, "SCORES", dict(SCORES))
    return registry.SCORES


def test_a_registered_score_is_computed_and_monitored(registered, without_java):
    @register("type_token_ratio", group="words")
    def type_token_ratio(data):
        words = [caption.split() for caption in data.captions]
        return ratio([len(set(each)) for each in words], [len(each) for each in words], 100)

    assert compute_scores(evaluation_data(["a dog a", "b"]))["type_token_ratio"].score == 75.0
    check_scores(monitored("type_token_ratio"))
    with pytest.raises(ValueError, match="registered twice"):
        register("type_token_ratio", group="words")(type_token_ratio)


def test_slow_scores_are_computed_in_validations_only_if_monitored(registered, without_java):
    registered["slow"] = dataclasses.replace(
        SCORES["mean_length"], name="slow", in_validations=False, needs=()
    )
    data = evaluation_data(["a dog"])
    assert "slow" in compute_scores(data)
    assert "slow" in compute_scores(data, monitor="slow")
    assert not {"slow", "meteor"} & set(compute_scores(data, monitor="bleu_4"))


def test_scores_whose_data_are_missing_are_not_computed():
    text = set(compute_scores(evaluation_data(["a"]), monitor="bleu_4"))
    assert {SCORES[name].group for name in text} == {"words"}
    assert not {"novel_captions", "perplexity"} & text
    captions = [attending("a red circle and a blue star", (1, 0), (0, 2))]
    attended = set(compute_scores(attended_data(captions), monitor="bleu_4")) - text
    assert attended == {"attention_entropy", "attention_change", "attention_coverage"}
    data = attended_data(captions, objects=[scene_objects(TWO)])
    with_objects = set(compute_scores(data, monitor="bleu_4")) - attended - text
    assert {name.split("_")[0] for name in with_objects - {"attention_correctness"}} == {
        *("pointing", "correctness"),
        *("true", "relational", "shuffled"),
    }


@pytest.mark.usefixtures("without_java")
def test_a_ratio_of_nothing_is_left_out_but_in_validations(registered):
    register("of_nothing", group="words")(lambda data: ratio([0.0, 0.0], [0.0, 0.0]))
    data = evaluation_data(["a", "b"])
    assert "of_nothing" not in compute_scores(data)
    assert compute_scores(data, monitor="bleu_4")["of_nothing"].score == 0.0


def test_a_monitored_score_that_the_data_do_not_allow_is_an_error():
    data = evaluation_data(["a"], state_sensitivities=[np.array([])])  # a split of one image
    with pytest.raises(UserError, match="--monitor=state_sensitivity needs two validation images"):
        compute_scores(data, monitor="state_sensitivity")


def test_shared_statistics_are_computed_once():
    data, calls = evaluation_data(["a"]), []

    def statistics(data):
        calls.append(data)
        return len(data.captions)

    assert data.shared(statistics) == data.shared(statistics) == 1
    assert calls == [data]
    evaluation_data(["a"]).shared(statistics)
    assert len(calls) == 2


def test_the_default_monitor_is_usable():
    check_scores(Config())
