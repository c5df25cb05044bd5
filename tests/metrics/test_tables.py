"""Tables of scores."""

import shutil

from sat_tf.metrics.bootstrap import Difference, Interval
from sat_tf.metrics.tables import difference_table, score_table


def test_scores_with_their_intervals():
    table = score_table({"bleu_1": 12.345, "words": 7.0}, {"bleu_1": Interval(11.0, 13.5)})
    assert table.splitlines()[:2] == ["bleu_1     12.35  [11.00, 13.50]", "words       7.00"]


def test_a_difference_with_its_sign_and_interval():
    found = {"cider": Difference(-0.125, Interval(-0.2, 0.05), 0.24)}
    _, line = difference_table({"cider": 0.5}, {"cider": 0.375}, found).splitlines()
    assert line.split() == ["cider", "0.500", "0.375", "-0.125", "[-0.200,", "+0.050]", "0.240"]


def test_scores_that_were_not_resampled_have_no_difference():
    first = {"cider": 0.5, "novel_captions": 1.0, "vocab_size": 90.0}
    second = {"cider": 0.5, "vocab_size": 120.0}  # without training captions
    found = {"cider": Difference(0.0, Interval(0.0, 0.0), 1.0)}
    heads, cider, counts = difference_table(first, second, found).splitlines()
    assert counts.split() == ["vocab_size", "90.000", "120.000"]
    assert cider.index("0.500") == counts.index("90.000") + 1  # aligned
    assert heads.split() == ["first", "second", "difference", "95", "%", "p"]


def test_scores_left_out_are_named_with_the_reason(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    *_, line = score_table({"bleu_1": 12.3}, {}).splitlines()
    assert line == "left out: meteor needs Java, and there is no java on the PATH"
