"""Scores of captions and of attention."""
