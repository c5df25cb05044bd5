"""Visualisation of attention: figures, TensorBoard's tab Attention, and an HTML report."""

# Shared by the code that writes TensorBoard's log and the plugin that reads it.
PLUGIN_NAME = "sat_tf_attention"
# Of the documents of `AttentionRecord.document`.
FORMAT_VERSION = 2
