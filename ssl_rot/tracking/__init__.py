"""What a run leaves, on the disk first and in MLflow as soon as it answers. No other module writes
to MLflow.
"""

from ssl_rot.tracking.names import HISTORY, RECORD, WEIGHTS, Tag
from ssl_rot.tracking.record import Record
from ssl_rot.tracking.run_log import RunLog, line
from ssl_rot.tracking.tracker import Tracker

__all__ = ["HISTORY", "RECORD", "WEIGHTS", "Record", "RunLog", "Tag", "Tracker", "line"]
