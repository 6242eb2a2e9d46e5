"""The names that config files use are public ones: moving a private file breaks no config."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from ssl_rot.config.run_keys import compute_run_keys
from ssl_rot.freeze import FreezeNothing
from ssl_rot.schedules import Schedule

CHECKOUT = Path(__file__).resolve().parents[2]
TARGET = re.compile(r"(?:_target_|path): (ssl_rot\.\S+)")
TARGETS = sorted(
    {
        name
        for path in (CHECKOUT / "conf").rglob("*.yaml")
        for name in TARGET.findall(path.read_text())
    }
)


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_is_exported_by_its_package(target):
    root, package, *names = target.split(".")
    assert len(names) == 1, f"{target} is not ssl_rot.<package>.<Name>"
    assert names[0] in importlib.import_module(f"{root}.{package}").__all__


@pytest.mark.parametrize("package", sorted({name.rpartition(".")[0] for name in TARGETS}))
def test_contributing_lists_the_package(package):
    assert package in (CHECKOUT / "CONTRIBUTING.md").read_text()


def test_moving_a_private_file_changes_no_key(compose, monkeypatch):
    config = OmegaConf.to_container(compose("+experiment=rotation"), resolve=True)

    def keys():
        return compute_run_keys(config, data="d", arithmetic="fp32", weights=None)

    before = keys()
    for moved in (FreezeNothing, Schedule):
        monkeypatch.setattr(moved, "__module__", "ssl_rot.elsewhere")
    assert keys() == before
