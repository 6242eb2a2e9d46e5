"""Types of config values: a signature declares with them which values a key accepts.

The validation of the config checks them, not the function itself. A ``description`` replaces the
message that would be derived from the constraints.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

Count = Annotated[int, Field(ge=1)]
Finite = Field(allow_inf_nan=False)
Positive = Annotated[float, Finite, Field(gt=0)]
NonNegative = Annotated[float, Finite, Field(ge=0)]
Fraction = Annotated[float, Finite, Field(ge=0, lt=1)]
OpenFraction = Annotated[float, Finite, Field(gt=0, lt=1)]
Text = Annotated[str, Field(pattern=r"\S", description="a non-empty text")]
Folder = Annotated[
    Annotated[str, Field(pattern=r"\S")] | Path, Field(description="the path of a folder")
]
ImageSize = Annotated[int, Field(ge=4, le=4096)]
ChannelMeans = Annotated[
    Sequence[NonNegative],
    Field(min_length=1, description="a list of one number of at least 0 per channel"),
]
ChannelDeviations = Annotated[
    Sequence[Positive],
    Field(min_length=1, description="a list of one number greater than 0 per channel"),
]
Init = Literal["default", "xavier"]


def _check_angles(angles: Sequence[int]) -> Sequence[int]:
    distinct = {angle % 360 for angle in angles}
    if any(angle % 45 for angle in angles) or len(distinct) < len(angles) or len(angles) == 1:
        raise ValueError("not a set of angles that can be told apart")
    return angles


Angles = Annotated[
    Sequence[Annotated[int, Field(ge=-3600, le=3600)]],
    AfterValidator(_check_angles),
    Field(description="a list of at least two different multiples of 45 degrees, or empty"),
]
