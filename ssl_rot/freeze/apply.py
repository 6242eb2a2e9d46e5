"""Freezes stages of a model: no gradients, not in the optimizer, and modules in eval mode."""

from __future__ import annotations

from torch.nn import Parameter

from ssl_rot.models import Classifier


def trainable_parameters(model: Classifier, frozen: frozenset[str]) -> list[Parameter]:
    """Freezes the parameters of the frozen stages alone, and returns the others in order."""
    for name, parameter in model.backbone.named_parameters():
        parameter.requires_grad_(model.backbone.stage_of(name) not in frozen)
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def set_train_mode(model: Classifier, frozen: frozenset[str]) -> None:
    """Puts the model into train mode, and its frozen stages into eval mode."""
    model.train()
    for name, module in model.backbone.named_modules():
        # The backbone itself, without a name, has no tensors and may contain several stages.
        if frozen and name and model.backbone.stage_of(name) in frozen:
            module.training = False
