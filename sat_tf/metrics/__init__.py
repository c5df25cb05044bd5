"""Scores of captions and of attention; importing the package registers them."""

import importlib

for _module in ("text", "attention", "grounding", "faithfulness", "shapes"):  # the order of tables
    importlib.import_module(f"{__name__}.{_module}")
