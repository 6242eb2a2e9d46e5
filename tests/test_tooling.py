"""The checks before a commit and those of ``make lint`` are the same."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from omegaconf import OmegaConf


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_pre_commit_checks_what_make_lint_checks(checkout):
    config = OmegaConf.load(checkout / ".pre-commit-config.yaml")
    hooks = [hook.entry for repo in config.repos for hook in repo.hooks]
    printed = subprocess.run(
        ["make", "--dry-run", "lint"], cwd=checkout, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    linting = [line for line in printed if " -m ruff" in line or " -m mypy" in line]
    assert hooks == linting
    assert len(hooks) == 3
