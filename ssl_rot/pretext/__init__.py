"""Pretext tasks: what a backbone learns before it sees a label (``conf/pretext``)."""

from ssl_rot.pretext.pretext import Pretext
from ssl_rot.pretext.rotation import Rotate

__all__ = ["Pretext", "Rotate"]
