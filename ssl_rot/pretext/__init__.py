"""Pretext tasks, which train a backbone without labels (``conf/pretext``)."""

from ssl_rot.pretext.pretext import Arm, NoPretext, Pretext
from ssl_rot.pretext.rotation import Rotate, Rotation

__all__ = ["Arm", "NoPretext", "Pretext", "Rotate", "Rotation"]
