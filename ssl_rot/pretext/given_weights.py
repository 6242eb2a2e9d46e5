"""An arm that starts from given weights instead of a pretext task of its own."""

from dataclasses import dataclass

from ssl_rot.option_types import Text
from ssl_rot.pretext.pretext import Arm


@dataclass(frozen=True, kw_only=True)
class GivenWeights(Arm):
    """Starts from a file, an MLflow run, or published weights. Nothing is trained for it.

    Args:
        source: a ``.safetensors`` file, the id of an MLflow run, or ``timm:<model.tag>``.
    """

    source: Text
