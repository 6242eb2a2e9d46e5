"""Experiment tracking: everything is written to the disk first, then to MLflow.

No other package writes to MLflow, and MLflow's own types stay in this one.
"""

from ssl_rot.config.run_keys import WITHOUT_EFFECT
from ssl_rot.tracking.dataset_use import DatasetUse, describe_images, describe_source
from ssl_rot.tracking.history import History
from ssl_rot.tracking.names import CONFIG, HISTORY, INPUTS, PREDICTIONS, RECORD, WEIGHTS, Tag
from ssl_rot.tracking.run_log import RunLog
from ssl_rot.tracking.run_record import RunRecord
from ssl_rot.tracking.runs import StoredRun
from ssl_rot.tracking.tracker import Tracker
from ssl_rot.tracking.versions import version_tags

__all__ = [
    "CONFIG",
    "HISTORY",
    "INPUTS",
    "PREDICTIONS",
    "RECORD",
    "WEIGHTS",
    "WITHOUT_EFFECT",
    "DatasetUse",
    "History",
    "RunLog",
    "RunRecord",
    "StoredRun",
    "Tag",
    "Tracker",
    "describe_images",
    "describe_source",
    "version_tags",
]
