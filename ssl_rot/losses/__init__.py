"""Losses that torch does not have (``conf/loss``)."""

from ssl_rot.losses.focal import FocalLoss

__all__ = ["FocalLoss"]
