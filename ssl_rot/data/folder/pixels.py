"""The pixels of an image of any kind, as a square.

A logged model carries a copy of this file: it imports nothing of ssl_rot.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps


def square_pixels(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """Decodes an image, upright, cropped to a square at the center, then resized.

    Gray, palette, transparent (alpha is dropped), CMYK and 16-bit images all become 8-bit RGB,
    ``[3, size, size]``.
    """
    if image.format == "EPS":  # Pillow would have Ghostscript run it
        raise ValueError("PostScript is a program, not an image")
    # JPEGs can be decoded at 1/2, 1/4 or 1/8 size; twice the final size loses nothing visible.
    if min(image.size) >= 4 * size:
        image.draft(None, (2 * size, 2 * size))
    # A photograph stored sideways would get wrong labels in the rotation task.
    ImageOps.exif_transpose(image, in_place=True)
    rgb = _to_rgb(image)
    if rgb.size != (size, size):
        side = min(rgb.size)
        left, top = (rgb.width - side) // 2, (rgb.height - side) // 2
        # Not resize's box argument: its filter reads pixels beyond the box.
        square = rgb.crop((left, top, left + side, top + side))
        rgb = square.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.asarray(rgb).transpose(2, 0, 1)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("floating-point pixels have no fixed range")
    if image.mode.startswith("I"):  # Pillow would clip 16-bit values to 255, not scale them
        gray = np.asarray(image).clip(0, 65535) // 257
        image = Image.fromarray(gray.astype(np.uint8))
    return image if image.mode == "RGB" else image.convert("RGB")
