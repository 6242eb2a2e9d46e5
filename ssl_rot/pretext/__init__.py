"""Pretext tasks, which train a backbone without labels, and the other arms (``conf/pretext``)."""

from ssl_rot.pretext.given_weights import GivenWeights
from ssl_rot.pretext.placebos import RandomTargets, Statistics
from ssl_rot.pretext.pretext import Arm, NoPretext, Pretext
from ssl_rot.pretext.rotation import Rotate, Rotation
from ssl_rot.pretext.simclr import SimCLR

__all__ = [
    "Arm",
    "GivenWeights",
    "NoPretext",
    "Pretext",
    "RandomTargets",
    "Rotate",
    "Rotation",
    "SimCLR",
    "Statistics",
]
