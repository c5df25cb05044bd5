from sat_tf.evaluation import coco_metrics
from sat_tf.evaluation.bootstrap import Difference, Interval
from sat_tf.evaluation.tables import difference_table, missing_lines, score_table


def test_scores_stand_with_their_intervals():
    table = score_table({"bleu_1": 12.345, "words": 7.0}, {"bleu_1": Interval(11.0, 13.5)})
    assert table.splitlines() == ["bleu_1     12.35  [11.00, 13.50]", "words       7.00"]


def test_a_difference_is_told_with_its_sign_and_doubt():
    found = {"cider": Difference(-0.125, Interval(-0.2, 0.05), 0.24)}
    _, line = difference_table({"cider": 0.5}, {"cider": 0.375}, found).splitlines()
    assert line.split() == ["cider", "0.500", "0.375", "-0.125", "[-0.200,", "+0.050]", "0.240"]


def test_what_is_left_out_is_named_with_its_reason(monkeypatch):
    monkeypatch.setattr(coco_metrics.shutil, "which", lambda name: None)
    assert missing_lines() == "left out: meteor needs Java, and there is no java on the PATH\n"
