"""The article's flawed transfer, to measure its effect.

The article's script re-initialized every convolution before the second phase, so only biases and
BatchNorm survived from the pre-training:

    PYTHONPATH=scripts python -m ssl_rot.run +experiment=article_rotation \\
        model._target_=article_flaw.resnet

The results are in docs/article.md. Everywhere else, transfer moves all weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

import ssl_rot.models
from ssl_rot.models import StagedBackbone


class Forgetful(StagedBackbone):
    """Loads everything from a state dict except the weights of its convolutions."""

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        own = self.state_dict()
        kept = {
            f"{name}.weight": own[f"{name}.weight"]
            for name, module in self.named_modules()
            if isinstance(module, nn.Conv2d)
        }
        return super().load_state_dict({**state_dict, **kept}, *args, **kwargs)


def resnet(in_channels: int, **kwargs: Any) -> Forgetful:
    """``ssl_rot.models.resnet``, whose convolutions forget what they learned."""
    whole = ssl_rot.models.resnet(in_channels, **kwargs)
    return Forgetful(dict(whole.named_children()), whole.channels)
