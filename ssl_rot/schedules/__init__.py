"""How long a phase trains, with what optimizer, and when it stops (``conf/schedule``)."""

from ssl_rot.schedules.schedule import EarlyStop, Schedule

__all__ = ["EarlyStop", "Schedule"]
