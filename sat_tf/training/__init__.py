"""The training loop, its checkpoints and its stopping rule."""
