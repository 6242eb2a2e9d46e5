"""Which stages of the backbone are frozen, and what frozen means (``conf/freeze``)."""

from ssl_rot.freeze.policies import (
    FreezeBackbone,
    FreezeNothing,
    FreezePolicy,
    FreezeThrough,
    GradualUnfreezing,
    set_train_mode,
    trainable_parameters,
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
