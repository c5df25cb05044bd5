"""Visualisation of attention: figures, TensorBoard's tab Attention, and an HTML report."""

from pathlib import Path

STATIC = Path(__file__).parent / "static"  # scripts and styles of the pages
# Shared by the code that writes TensorBoard's log and the plugin that reads it.
PLUGIN_NAME = "sat_tf_attention"
# Of the documents of `AttentionRecord.document`.
FORMAT_VERSION = 2
