"""What is a fault, and what is not, in scores and captions as they may come."""

from types import SimpleNamespace

import pytest

from sat_tf.doctor.attention import attention
from sat_tf.doctor.results import Status, judge
from sat_tf.doctor.words import captions_alike


@pytest.mark.parametrize("figure", [float("nan"), float("inf")])
def test_what_rests_on_no_number_is_not_healthy(figure):
    finding = judge(False, "all is well", "look", share=figure, other=1.0)
    assert finding.verdict is Status.FAULT
    assert finding.figures == {"share": None, "other": 1.0}


@pytest.mark.parametrize(
    ("depends", "moves", "words", "locations", "verdict"),
    [
        (3.0, 20.0, 2, 9, Status.HEALTHY),
        (0.1, 20.0, 2, 9, Status.FAULT),
        (3.0, 0.1, 2, 9, Status.FAULT),
        (3.0, 0.0, 1, 9, Status.HEALTHY),  # one word has nowhere to move from
        (None, 20.0, 2, 9, Status.NOT_NEEDED),  # a single caption
        (0.0, 0.0, 2, 1, Status.NOT_NEEDED),
    ],
)
def test_attention_has_to_depend_on_h_and_to_move(depends, moves, words, locations, verdict):
    scores = {"attention_change": moves}
    if depends is not None:
        scores["state_sensitivity"] = depends
    captions = [SimpleNamespace(words=["a"] * words)]
    patient = SimpleNamespace(
        run=SimpleNamespace(model=SimpleNamespace(num_locations=locations)),
        scored=SimpleNamespace(scores=scores, captions=captions),
    )
    assert attention(patient).verdict is verdict


DIFFERENT = [f"dog {number}" for number in range(20)]


@pytest.mark.parametrize(
    ("captions", "references", "verdict"),
    [
        (DIFFERENT, DIFFERENT, Status.HEALTHY),
        ([*DIFFERENT[:15], *["dog 1"] * 5], DIFFERENT, Status.FAULT),  # one too often
        (["dog 1", "dog 2", "dog 3", "dog 4", "dog 5"] * 4, DIFFERENT, Status.HEALTHY),
        ([f"dog {number // 9}" for number in range(54)], DIFFERENT, Status.FAULT),  # too few
        (["dog 1"] * 20, ["A dog."] * 20, Status.HEALTHY),  # people say no more
        (["dog 1"] * 7, DIFFERENT, Status.NOT_NEEDED),
    ],
)
def test_captions_are_as_different_as_people_s(captions, references, verdict):
    scored = SimpleNamespace(
        captions=[SimpleNamespace(text=text) for text in captions],
        records=[SimpleNamespace(captions=(text,)) for text in references],
    )
    assert captions_alike(SimpleNamespace(scored=scored)).verdict is verdict
