"""The SavedModel: its signatures and what comes beside it."""
