"""Measures whether pre-training on the rotation task helps when labels are few, and how much."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("ssl_rot")
except PackageNotFoundError:  # run from a checkout that was never installed
    __version__ = "0+unknown"
