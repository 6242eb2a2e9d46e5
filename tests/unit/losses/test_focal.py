"""The losses against independent arithmetic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

from ssl_rot.losses import FocalLoss

CONF = Path(__file__).parents[3] / "conf"
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(scale=3, size=(50, 7))
TARGETS = RNG.integers(7, size=50)


def shipped(name: str) -> nn.Module:
    loss: nn.Module = instantiate(OmegaConf.load(CONF / "loss" / f"{name}.yaml"))
    return loss


def log_probabilities() -> np.ndarray:
    return LOGITS - np.log(np.exp(LOGITS).sum(1, keepdims=True))


def value(loss: nn.Module) -> float:
    result: float = loss(torch.tensor(LOGITS), torch.tensor(TARGETS)).item()
    return result


@pytest.mark.parametrize(("alpha", "gamma"), [(0.5, 2.0), (0.25, 0.5), (1.0, 5.0), (3.0, 0.0)])
def test_focal_is_its_formula(alpha, gamma):
    p = np.exp(log_probabilities()[np.arange(50), TARGETS])
    expected = np.mean(alpha * (1 - p) ** gamma * -np.log(p))
    assert value(FocalLoss(alpha, gamma)) == pytest.approx(expected, rel=1e-9)


def test_focal_without_its_two_terms_is_cross_entropy():
    assert value(FocalLoss(alpha=1.0, gamma=0.0)) == pytest.approx(value(nn.CrossEntropyLoss()))


def test_focal_ships_with_the_articles_values():
    assert value(shipped("focal")) == value(FocalLoss(alpha=0.5, gamma=2.0)) == value(FocalLoss())


def test_shipped_cross_entropy_and_label_smoothing():
    log_p = log_probabilities()
    right = -log_p[np.arange(50), TARGETS].mean()
    assert value(shipped("cross_entropy")) == pytest.approx(right)
    assert value(shipped("label_smoothing")) == pytest.approx(0.9 * right - 0.1 * log_p.mean())


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_gradient_is_finite_where_the_net_is_sure(gamma):
    logits = torch.tensor([[200.0, 0.0], [0.0, 200.0], [20.0, 0.0]], requires_grad=True)
    FocalLoss(gamma=gamma)(logits, torch.tensor([0, 0, 0])).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_focal_stays_in_single_precision_under_autocast():
    logits, targets = torch.tensor(LOGITS).float(), torch.tensor(TARGETS)
    with torch.autocast("cpu", torch.bfloat16):
        loss = FocalLoss()(logits, targets)
    assert loss.dtype == torch.float32
    assert loss.item() == FocalLoss()(logits, targets).item()
