"""Starting from saved weights: all of them, or a message and none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ssl_rot.errors import WeightsError
from ssl_rot.models import Classifier, StagedBackbone, build_backbone, build_head
from ssl_rot.models.weights import load_backbone_weights, save_weights


@pytest.fixture
def saved(option) -> dict[str, Tensor]:
    """The weights of another backbone of the same kind."""
    cfg = option("model", "resnet_tiny")
    return build_backbone(cfg, in_channels=1, seed=7).state_dict()


def equal(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def test_a_bare_backbone_file(option, saved, tmp_path: Path):
    file = tmp_path / "w.safetensors"
    save_file(saved, file)
    by_key = build_backbone(
        option("model", "resnet_tiny", weights=str(file)), in_channels=1, seed=0
    )
    assert equal(by_key.state_dict(), saved)


def test_a_whole_classifiers_file_gives_its_backbone_and_ignores_its_head(option, tmp_path: Path):
    cfg = option("model", "resnet_tiny")
    backbone = build_backbone(cfg, in_channels=1, seed=7)
    head = build_head(option("head", "mlp"), in_channels=64, num_classes=4, seed=7)
    file = tmp_path / "w.safetensors"
    save_file(Classifier(backbone, head).state_dict(), file)
    loaded = build_backbone(cfg, in_channels=1, seed=0, weights=file)
    assert equal(loaded.state_dict(), backbone.state_dict())


def test_tied_weights_are_saved_and_load(tmp_path: Path):
    def tied() -> Classifier:
        stages = {name: nn.Conv2d(4, 4, 1) for name in ("one", "two")}
        stages["two"].weight = stages["one"].weight
        model = Classifier(StagedBackbone(stages, [4, 4]), nn.Conv2d(4, 4, 1))
        model.head.weight = stages["one"].weight
        return model

    model, file = tied(), tmp_path / "w.safetensors"
    save_weights(model, file)
    assert equal(load_file(file), model.state_dict())
    again = tied()
    load_backbone_weights(again.backbone, file)
    assert equal(again.backbone.state_dict(), model.backbone.state_dict())
    assert again.backbone.one.weight is again.head.weight


def test_the_argument_takes_the_place_of_the_key(option, saved, tmp_path: Path):
    file = tmp_path / "w.safetensors"
    save_file(saved, file)
    cfg = option("model", "resnet_tiny", weights="an_mlflow_run_id")
    assert equal(build_backbone(cfg, in_channels=1, seed=0, weights=file).state_dict(), saved)


FAULTS = {
    "missing": (
        lambda w: {k: v for k, v in w.items() if not k.startswith("stage3.0.bn1")},
        r"5 missing: stage3\.0\.bn1\.bias, .*, \.\.\.",
    ),
    "unexpected": (
        lambda w: w | {"stage4.0.weight": torch.zeros(1)},
        r"1 unexpected: stage4\.0\.weight\.$",
    ),
    "shape": (
        lambda w: w | {"stem.0.weight": torch.zeros(16, 3, 3, 3)},
        r"1 of another shape: stem\.0\.weight \(\[16, 3, 3, 3\] in the file, \[16, 1, 3, 3\] here",
    ),
    "all at once": (
        lambda w: {("other." + k if "stem" in k else k): v for k, v in w.items()},
        r"6 missing: stem.*; 6 unexpected: other\.stem",
    ),
}


@pytest.mark.parametrize(("change", "message"), FAULTS.values(), ids=FAULTS)
def test_weights_that_do_not_fit_are_refused_and_change_nothing(
    option, saved, tmp_path: Path, change, message
):
    file = tmp_path / "w.safetensors"
    save_file(change(saved), file)
    backbone = build_backbone(option("model", "resnet_tiny"), in_channels=1, seed=0)
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    with pytest.raises(WeightsError, match=message):
        load_backbone_weights(backbone, file)
    assert equal(backbone.state_dict(), before)


def truncate(weights: dict[str, Tensor], file: Path) -> None:
    save_file(weights, file)
    file.write_bytes(file.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda _, file: None, "no such weights file"),
        (lambda _, file: file.mkdir(), "no such weights file"),
        (lambda _, file: file.write_bytes(b""), "damaged, or no safetensors file"),
        (lambda weights, file: torch.save(weights, file), "damaged, or no safetensors file"),
        (truncate, "damaged, or no safetensors file"),
    ],
    ids=["absent", "folder", "empty", "pickle", "truncated"],
)
def test_a_file_that_cannot_be_read(option, saved, tmp_path: Path, write, message):
    file = tmp_path / "w.safetensors"
    write(saved, file)
    with pytest.raises(WeightsError, match=rf"w\.safetensors.*{message}"):
        build_backbone(option("model", "resnet_tiny"), in_channels=1, seed=0, weights=file)
