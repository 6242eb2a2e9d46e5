"""Losses that torch does not have. An option of ``conf/loss`` names one by ``ssl_rot.losses.…``."""

from ssl_rot.losses.focal import FocalLoss

__all__ = ["FocalLoss"]
