"""Files in, batches out."""
