"""Does pre-training on the rotation task help when labels are few, by how much, and how sure?"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("ssl_rot")
except PackageNotFoundError:  # run from a checkout that was never installed
    __version__ = "0+unknown"
