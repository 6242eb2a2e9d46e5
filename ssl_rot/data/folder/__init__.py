"""Image folders: listing, decoding, and the cache of decoded images."""

from ssl_rot.data.folder.image_folder import image_folder

__all__ = ["image_folder"]
