"""Fixtures of more than one file."""

import pytest


@pytest.fixture
def without_java(monkeypatch):
    """No program is found: METEOR, whose Java takes seconds to start, is left out of the scores."""
    monkeypatch.setenv("PATH", "")
