"""A user's own model, loss and data set: YAML in a folder of theirs and a module beside it."""

from __future__ import annotations

from pathlib import Path

import mlflow
import pytest
from hydra import compose as compose_config
from hydra import initialize_config_dir

from ssl_rot.config.validation import validate

MODULE = '''
import torch
from torch import nn
from ssl_rot.data import Images, Source, Split
from ssl_rot.models import StagedBackbone


def net(in_channels: int, *, width: int) -> StagedBackbone:
    first = nn.Sequential(nn.Conv2d(in_channels, width, 3), nn.BatchNorm2d(width), nn.ReLU())
    return StagedBackbone({"first": first, "second": nn.Conv2d(width, width, 3)}, [width, width])


class Hinge(nn.Module):
    def __init__(self, margin: float) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, logits, targets):
        return nn.functional.multi_margin_loss(logits, targets, margin=self.margin)


class Weighted(nn.Module):
    def __init__(self, alpha: list[float]) -> None:
        super().__init__()
        self.alpha = alpha


def deep(in_channels: int, *, num_blocks: int, width: float) -> StagedBackbone:
    channels = round(8 * width)
    stages = {f"block{k}": nn.Conv2d(in_channels if k == 0 else channels, channels, 3, padding=1)
              for k in range(num_blocks)}
    return StagedBackbone(stages, [channels] * num_blocks)


def stripes(image_size: int) -> Source:
    """Horizontal or vertical."""
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(0, 50, (80, 3, image_size, image_size), generator=draws)
    labels = torch.arange(80) % 2
    images[labels == 0, :, ::2] += 200
    images[labels == 1, :, :, ::2] += 200
    every = Split(Images(images.to(torch.uint8)), labels)
    return Source(every.select(torch.arange(60)), every.select(torch.arange(60, 80)),
                  ("lying", "standing"), "stripes 1")
'''

OPTIONS = {
    "model/mine.yaml": """
_target_: my_parts.net
width: 6
init: default
weights: null
cut: null
""",
    "loss/mine.yaml": """
_target_: my_parts.Hinge
margin: 0.5
""",
    "loss/weighted.yaml": """
_target_: my_parts.Weighted
alpha: [0.25, 0.75]
""",
    "model/deep.yaml": """
_target_: my_parts.deep
num_blocks: 8
width: 0.5
init: default
weights: null
cut: null
""",
    "dataset/mine.yaml": """
_target_: ssl_rot.data.prepare
name: stripes
source:
  _target_: my_parts.stripes
  image_size: ${..image_size}
image_size: 10
labels_per_class: 4
val_fraction: 0.0
train_size: null
mean: null
std: null
augment:
  _target_: ssl_rot.data.Augment
  crop_padding: 0
  flip: false
""",
}

COMMAND = (
    *("+experiment=rotation", "model=mine", "loss=mine", "dataset=mine", "loss.margin=0.7"),
    *("freeze=through", "freeze.stage=first", "schedule.epochs=3", "pretext.schedule.epochs=1"),
)


@pytest.fixture
def my_conf(tmp_path):
    (tmp_path / "my_parts.py").write_text(MODULE)
    for name, text in OPTIONS.items():
        path = tmp_path / "my_conf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "my_conf"


@pytest.mark.slow
def test_user_classes_train_without_changes_to_the_package(run_cli, make_store, my_conf, tmp_path):
    uri = make_store(tmp_path)
    # python -m puts the working directory, and with it the module, on the path.
    run_cli("--config-dir", "my_conf", *COMMAND)
    client = mlflow.MlflowClient(uri)
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    params = {run.data.tags["ssl_rot.phase"]: run.data.params for run in runs}
    assert set(params) == {"pretext", "downstream", "floor"}
    chosen = {"model": "mine", "loss": "mine", "dataset": "mine", "loss.margin": "0.7"}
    assert params["downstream"].items() >= chosen.items()


@pytest.mark.parametrize(
    ("override", "fragment"),
    [
        ("+model.wdth=3", "model.wdth is not a key of my_parts.net; did you mean width?"),
        ("+loss.margn=3", "loss.margn is not a key of my_parts.Hinge; did you mean margin?"),
        (
            "model.cut=third",
            "model.cut=third is not allowed; it must be a stage of the model: first",
        ),
    ],
)
def test_user_classes_are_validated_like_built_in_ones(
    call_main, my_conf, tmp_path, monkeypatch, override, fragment
):
    monkeypatch.syspath_prepend(str(tmp_path))
    status, output = call_main("--config-dir", str(my_conf), *COMMAND, override)
    assert status == 2
    assert fragment in output


@pytest.mark.parametrize("options", [["model=deep"], ["loss=weighted"]], ids=" ".join)
def test_user_classes_may_share_key_names_and_accept_other_values(
    my_conf, tmp_path, monkeypatch, options
):
    """``num_blocks: 8``, ``width: 0.5`` and ``alpha: [0.25, 0.75]``: our own parts refuse them."""
    monkeypatch.syspath_prepend(str(tmp_path))
    conf = str(Path(__file__).resolve().parents[3] / "conf")
    with initialize_config_dir(conf, version_base="1.3"):
        search_path = f"hydra.searchpath=[file://{my_conf}]"
        validate(compose_config("config", [search_path, *options]))
