"""Models of earlier systems, made into runs."""
