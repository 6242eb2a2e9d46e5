from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

CONF = Path(__file__).parents[3] / "conf"


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def option() -> Callable[..., DictConfig]:
    """An option of a group as it ships, some keys replaced: ``option("model", "nin", init=…)``."""

    def load(group: str, name: str, /, **replaced: Any) -> DictConfig:
        cfg = OmegaConf.load(CONF / group / f"{name}.yaml")
        assert isinstance(cfg, DictConfig)
        cfg.merge_with(replaced)
        return cfg

    return load
