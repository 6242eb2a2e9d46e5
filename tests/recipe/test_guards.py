"""Data on which nothing can be learnt, and scripts that look for what must not be there."""

from __future__ import annotations

import json
import runpy
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import ssl_rot.data
from ssl_rot.data import Images, Source, Split

ENOUGH = ("dataset.train_size=null", "schedule.epochs=8", "pretext.schedule.epochs=2")


@pytest.fixture
def sources(checkout, monkeypatch):
    monkeypatch.syspath_prepend(str(checkout / "scripts"))


@pytest.fixture
def script(checkout, monkeypatch, capsys):
    """Runs a script in this process and gives what it printed."""

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        runpy.run_path(str(checkout / "scripts" / name), run_name="__main__")
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("arm", ["supervised", "rotation"])
def test_nothing_is_learnt_from_shuffled_labels(run_job, sources, tmp_path, arm):
    def accuracies(*overrides):
        job = (f"+experiment={arm}", "dataset.labels_per_class=80", *ENOUGH, *overrides)
        last = run_job(tmp_path, *job).history("downstream")[-1]
        return last["train_acc"], last["test_acc"]

    shuffled = "dataset.source._target_=guard_sources.shuffled_digits"
    assert accuracies(shuffled)[1] < 0.2  # a tenth is chance
    assert min(accuracies()) > 0.6  # with the labels in order the same training learns a lot


def test_discs_teach_no_rotation_though_their_radius_can_be_learned(run_job, sources, tmp_path):
    ran = run_job(
        tmp_path,
        *("+experiment=rotation", "dataset.source._target_=guard_sources.discs"),
        *("dataset.labels_per_class=null", "dataset.image_size=16"),
        *(*ENOUGH, "schedule.epochs=4"),
    )
    turns = [row["test_acc"] for row in ran.history("pretext")]
    assert turns == pytest.approx([0.25, 0.25], abs=0.01)
    assert ran.history("downstream")[-1]["test_acc"] > 0.2


@pytest.fixture
def pictures(tmp_path):
    """4 photographs of noise to train on and 2 to test, one of them a training image under a name
    of its own."""
    draws = np.random.default_rng(0)
    for number, name in enumerate(["train/a/1", "train/a/2", "train/b/1", "train/b/2", "test/a/1"]):
        path = tmp_path / "pictures" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draws.integers(256, size=(16, 16, 3), dtype=np.uint8)).save(path)
        if number == 0:
            first = path
    copy = tmp_path / "pictures/test/b/other name.png"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(first.read_bytes())
    return tmp_path / "pictures"


def test_a_test_image_among_the_training_images_is_found(script, pictures):
    arguments = ("dataset=image_folder", f"dataset.root={pictures}", "dataset.image_size=16")
    lines = script("duplicates.py", *arguments).splitlines()
    assert [int(line.split()[-1]) for line in lines] == [4, 0, 2, 0, 1]


def test_jpeg_artifacts_are_separated_from_image_content(run_job, script, tmp_path):
    small = ("dataset.image_size=16", "dataset.train_size=null", "pretext.schedule.epochs=4")
    ran = run_job(tmp_path, "+experiment=rotation", *small)
    folder = str(tmp_path / "job1" / "pretext")
    figures = json.loads(script("jpeg_artefacts.py", folder))
    assert figures["images"] == 360
    plain = figures["rotated"]
    assert plain == pytest.approx(ran.history("pretext")[-1]["test_acc"], abs=0.005)
    assert plain > 0.5
    # Digits were no JPEG when the network saw them: there are no traces that it could go by.
    assert figures["rotated, then encoded"] > plain - 0.1
    assert figures["encoded, then rotated"] > plain - 0.1
    # Digits in a quality of 1 are unlike any that it saw.
    poor = json.loads(script("jpeg_artefacts.py", folder, "--quality=1"))
    assert poor["rotated"] == plain
    assert poor["rotated, then encoded"] < plain


def test_the_articles_transfer_throws_the_convolutions_away(run_job, sources, tmp_path):
    job = ("model._target_=article_flaw.resnet", "model.bias=true", "model.init=xavier")
    rotation, supervised = (
        run_job(tmp_path, f"+experiment={arm}", "freeze=backbone", *job)
        for arm in ("rotation", "supervised")
    )
    pretrained, start = rotation.backbone("pretext"), supervised.backbone("downstream")
    for name, tensor in rotation.backbone("downstream").items():
        is_convolution = tensor.ndim == 4
        assert tensor.equal(start[name]) == is_convolution, name
        assert tensor.equal(pretrained[name]) != is_convolution, name


def test_cifar10_becomes_a_folder_of_jpegs(script, tmp_path, monkeypatch):
    draws = torch.Generator().manual_seed(0)
    coarse = torch.randint(0, 256, (12, 3, 4, 4), dtype=torch.uint8, generator=draws)
    pixels = coarse.repeat_interleave(8, 2).repeat_interleave(8, 3)  # smooth, as photographs are
    train, test = (
        Split(Images(pixels[part]), torch.tensor([1, 0] * 3)) for part in (slice(6), slice(6, 12))
    )
    source = Source(train, test, ("bird", "cat"), fingerprint="made here")
    monkeypatch.setattr(ssl_rot.data, "cifar10", lambda root, size: source)
    script("cifar10_jpeg.py", str(tmp_path / "jpeg"), "--test-per-class", "2")
    found = ssl_rot.data.image_folder(tmp_path / "jpeg", 32)
    assert found.classes == source.classes
    assert found.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert found.test.labels.tolist() == [0, 0, 1, 1]
    expected = pixels[[1, 3, 5, 0, 2, 4]].float()
    assert (found.train.images[:].float() - expected).abs().mean() < 16
