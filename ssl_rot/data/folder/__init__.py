"""Encoded images, in folders or tables: listing, decoding, and the cache of decoded images."""

from ssl_rot.data.folder.decoded import decode_listing
from ssl_rot.data.folder.encoded import Listing, encode_labels
from ssl_rot.data.folder.image_folder import image_folder

__all__ = ["Listing", "decode_listing", "encode_labels", "image_folder"]
