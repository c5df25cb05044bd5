"""Where the model looked: pictures, TensorBoard's tab Attention, and a report."""

# Under which TensorBoard files what the tab shows: known to who writes it and to who reads it.
PLUGIN_NAME = "sat_tf_attention"
