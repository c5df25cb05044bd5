"""The doctor's checks: what is wrong with a run that its scores do not tell."""
