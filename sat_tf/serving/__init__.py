"""Export as a SavedModel, and the program that verifies it."""
