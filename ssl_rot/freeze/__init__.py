"""Which stages of the backbone are frozen, and what frozen means (``conf/freeze``)."""

from ssl_rot.freeze.apply import set_train_mode, trainable_parameters
from ssl_rot.freeze.policies import (
    FreezeBackbone,
    FreezeNothing,
    FreezePolicy,
    FreezeThrough,
    GradualUnfreezing,
)

__all__ = [
    "FreezeBackbone",
    "FreezeNothing",
    "FreezePolicy",
    "FreezeThrough",
    "GradualUnfreezing",
    "set_train_mode",
    "trainable_parameters",
]
