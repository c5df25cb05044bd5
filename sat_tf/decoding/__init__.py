"""Search for captions over a step function; knows no model."""
