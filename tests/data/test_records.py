"""Problems of files, listed for the person who can correct them."""

from pathlib import Path

import pytest

from sat_tf.data.records import (
    Problem,
    Problems,
    SourceLocation,
    describe_problems,
    raise_if_problems,
)
from sat_tf.errors import UserError


def test_problems_are_in_the_order_of_the_files():
    first, second = Path("a.json"), Path("b.txt")
    locations = [
        SourceLocation(first, "images[10]"),
        SourceLocation(second, 12),
        SourceLocation(first, "images[2].sentences[1]"),
        SourceLocation(second, 3),
        SourceLocation(first),
        SourceLocation(first, "annotations[7]"),
    ]
    assert describe_problems([Problem(location, "is bad") for location in locations]) == [
        "a.json: is bad",
        "a.json: annotations[7]: is bad",
        "a.json: images[2].sentences[1]: is bad",
        "a.json: images[10]: is bad",
        "b.txt:3: is bad",
        "b.txt:12: is bad",
    ]
    with pytest.raises(UserError, match=r"^2 problems in b\.txt, a\.json\n"):
        raise_if_problems([Problem(locations[1], "x"), Problem(locations[0], "y")])


def test_what_a_terminal_would_obey_is_escaped():
    problem = Problem(SourceLocation(Path("\x1b[2J.csv"), 1), "no such image: \udcff\r")
    assert describe_problems([problem]) == ["\\x1b[2J.csv:1: no such image: \\udcff\\r"]
    with pytest.raises(UserError, match=r"^2 problems in \\x1b\[2J\.csv\n"):
        raise_if_problems([problem, problem])
    problems = Problems()
    problems.note(problem.location, "a\nb")
    assert problems.notes == ["\\x1b[2J.csv:1: a\\nb"]


def test_many_problems_are_counted_not_listed():
    problems = [Problem(SourceLocation(Path("c.txt"), n), "is bad") for n in range(1, 51)]
    with pytest.raises(UserError) as caught:
        raise_if_problems(problems)
    lines = str(caught.value).splitlines()
    assert (lines[0], lines[20], lines[21:]) == (
        "50 problems in c.txt",
        "c.txt:20: is bad",
        ["... and 30 more"],
    )
    raise_if_problems([])
