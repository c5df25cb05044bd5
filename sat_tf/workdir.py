"""Names of the files in a run's folder, beside `config.json`."""

VOCABULARY_FILE = "vocabulary.json"
# The encoder at the start of the run, so that the run needs no other file.
ENCODER_FILE = "encoder.keras"
LAST, BEST, EPOCHS = "checkpoints", "best", "epochs"
METRICS_FILE = "metrics.jsonl"
SCORES_FILE = "scores.json"
FIGURE_FILE = "attention.png"
TENSORBOARD = "tensorboard"
