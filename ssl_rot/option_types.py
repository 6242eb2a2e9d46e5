"""Types of config values: a signature declares with them which values a key accepts.

The validation of the config checks them, not the function itself. A ``description`` replaces the
message that would be derived from the constraints.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Finite = Field(allow_inf_nan=False)
Positive = Annotated[float, Finite, Field(gt=0)]
NonNegative = Annotated[float, Finite, Field(ge=0)]
Fraction = Annotated[float, Finite, Field(ge=0, lt=1)]
OpenFraction = Annotated[float, Finite, Field(gt=0, lt=1)]
Text = Annotated[str, Field(pattern=r"\S", description="a non-empty string")]
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


def _check_arm(name: str) -> str:
    if name == "supervised":
        raise ValueError("the arm without a pretext task")
    return name


ArmName = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z][\w.+-]*$",
        description="a name of letters, digits and _.+-, other than supervised",
    ),
    AfterValidator(_check_arm),
]
