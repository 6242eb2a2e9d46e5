"""What frozen means: no gradients, no optimizer, and modules in eval mode."""

from __future__ import annotations

from torch.nn import Parameter

from ssl_rot.models import Classifier


def trainable_parameters(model: Classifier, frozen: frozenset[str]) -> list[Parameter]:
    """Switches gradients off in the frozen stages and on elsewhere.

    Returns:
        The parameters to train, in the model's own order.
    """
    for name, parameter in model.backbone.named_parameters():
        parameter.requires_grad_(model.backbone.stage_of(name) not in frozen)
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def set_train_mode(model: Classifier, frozen: frozenset[str]) -> None:
    """Puts the model into train mode, and its frozen stages into eval mode."""
    model.train()
    for name, module in model.backbone.named_modules():
        if not name:  # the backbone itself owns no tensors and may hold several stages
            continue
        if frozen and model.backbone.stage_of(name) in frozen:
            module.training = False
