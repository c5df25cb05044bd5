"""Search for token sequences over a step function; knows no model."""
