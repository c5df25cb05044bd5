"""What lies where in a run's folder, beside `config.json`."""

VOCABULARY_FILE = "vocabulary.json"
# The encoder as it stood when the run began: a run needs no file from elsewhere.
ENCODER_FILE = "encoder.keras"
LAST, BEST, EPOCHS = "checkpoints", "best", "epochs"
METRICS_FILE = "metrics.jsonl"
SCORES_FILE = "scores.json"
FIGURE_FILE = "attention.png"
TENSORBOARD = "tensorboard"
