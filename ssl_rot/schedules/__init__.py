"""How long a phase trains, with what optimizer, and when it stops (``conf/schedule``)."""

from ssl_rot.schedules.early_stop import EarlyStop
from ssl_rot.schedules.schedule import Schedule

__all__ = ["EarlyStop", "Schedule"]
