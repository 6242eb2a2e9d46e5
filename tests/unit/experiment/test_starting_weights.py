"""The arm that starts from given weights: a file, an MLflow run, or timm's."""

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from ssl_rot.errors import ConfigError, WeightsError
from ssl_rot.experiment.starting_weights import find_given_weights
from ssl_rot.models import build_backbone

TAG = "test_resnet.r160_in1k"


def test_a_run_and_a_file_are_an_arm_without_pre_training(run_job, tmp_path):
    rotation = run_job(tmp_path, "+experiment=rotation")
    source = rotation.runs["pretext"].info.run_id
    by_run = run_job(tmp_path, "pretext=weights", f"pretext.source={source}", "freeze=backbone")
    file = rotation.artifact("pretext", "weights.safetensors")
    by_file = run_job(tmp_path, "pretext=weights", f"pretext.source={file}", "freeze=backbone")
    tags = [ran.runs["downstream"].data.tags for ran in (by_run, by_file)]
    for ran in (by_run, by_file):
        assert set(ran.runs) == {"downstream"}
        moved, given = ran.backbone("downstream"), rotation.backbone("pretext")
        assert all(torch.equal(moved[key], given[key]) for key in given)
    assert tags[0]["ssl_rot.arm"] == "weights"
    # Their content counts, not where they come from.
    for key in ("ssl_rot.pretext_key", "ssl_rot.config_key"):
        assert tags[0][key] == tags[1][key]
    supervised = run_job(tmp_path, "pretext=none", "freeze=backbone").runs["downstream"].data.tags
    assert supervised["ssl_rot.pair_key"] == tags[0]["ssl_rot.pair_key"]
    others = load_file(file)
    others["backbone.stem.0.weight"] += 1
    save_file(others, tmp_path / "others.safetensors")
    third = run_job(
        tmp_path, "pretext=weights", "pretext.source=others.safetensors", "freeze=backbone"
    )
    assert (
        third.runs["downstream"].data.tags["ssl_rot.pretext_key"] != tags[0]["ssl_rot.pretext_key"]
    )


@pytest.fixture
def published(monkeypatch, tmp_path):
    """A published model in the cache of a machine that is offline; loaded by timm's own code."""
    model = timm.create_model("test_resnet", num_classes=1000)
    repository = tmp_path / f"models--timm--{TAG}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    save_file(model.state_dict(), snapshot / "model.safetensors")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return model.state_dict()


def timm_config(name="test_resnet", **changes):
    return {
        "_target_": "ssl_rot.models.timm_model", "name": name, "pretrained": False,
        "image_size": None, "init": "default", "weights": None, "cut": None,
    } | changes  # fmt: skip


def test_published_weights_fit_the_network_of_the_run(published, tmp_path):
    for channels in (3, 1):
        file = find_given_weights(f"timm:{TAG}", timm_config(), channels, None, tmp_path / "given")
        backbone = build_backbone(timm_config(), in_channels=channels, seed=3, weights=file)
        found = backbone.state_dict()
        same = [key for key in published if f"model.{key}" in found
                and torch.equal(found[f"model.{key}"], published[key])]  # fmt: skip
        missing = {key for key in published if f"model.{key}" not in found}
        assert missing == {"fc.weight", "fc.bias"}
        # Only the first convolution is adapted to images of one channel.
        assert len(same) == len(published) - 2 - (channels == 1)


@pytest.mark.parametrize(
    ("source", "model", "kind", "said"),
    [
        (f"timm:{TAG}", timm_config("resnet10t"), ConfigError, "model.name=test_resnet"),
        (f"timm:{TAG}", {"_target_": "x"}, ConfigError, "model=timm"),
        (f"timm:{TAG}", timm_config(pretrained=True), ConfigError, "set model.pretrained=false"),
        ("timm:test_resnet.none", timm_config(), ConfigError, "no such model"),
        ("nowhere", timm_config(), WeightsError, "pretext.source=nowhere is neither a file nor"),
    ],
)
def test_weights_that_cannot_be_given(tmp_path, source, model, kind, said):
    with pytest.raises(kind, match=said):
        find_given_weights(source, model, 3, None, tmp_path)
