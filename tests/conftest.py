"""Fixtures of more than one file."""

pytest_plugins = ["browser", "viewer_page"]
