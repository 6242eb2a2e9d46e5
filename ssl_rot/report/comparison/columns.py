"""The columns of the runs table that a comparison relies on."""

from __future__ import annotations

from ssl_rot.tracking import Tag

PHASE = f"tags.{Tag.PHASE}"
ARM = f"tags.{Tag.ARM}"
CONFIG_KEY = f"tags.{Tag.CONFIG_KEY}"
PAIR_KEY = f"tags.{Tag.PAIR_KEY}"
CONTENT_KEY = f"tags.{Tag.CONTENT_KEY}"
PRETEXT_RUN_ID = f"tags.{Tag.PRETEXT_RUN_ID}"
ERROR = f"tags.{Tag.ERROR}"
THREADS = f"tags.{Tag.THREADS}"
SEED = "params.seed"
LABELS = "params.dataset.labels_per_class"
FRACTION = "params.dataset.label_fraction"
PRETEXT_SEED = "params.pretext.seed"
FLOOR_KEY = f"tags.{Tag.FLOOR_KEY}"

# Of runs whose setting was chosen: the setting, how many were tried, the error of choosing.
CHOSEN = "chosen"
TRIALS = "trials"
VARIANCE = "selection_variance"
VALIDATION = "metrics.val_acc"
