"""Pretext tasks, which train a backbone without labels (``conf/pretext``)."""

from ssl_rot.pretext.pretext import Pretext
from ssl_rot.pretext.rotation import Rotate

__all__ = ["Pretext", "Rotate"]
