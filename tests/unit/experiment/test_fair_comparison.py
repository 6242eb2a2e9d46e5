"""The rules of a fair comparison, each checked on whole runs."""

from __future__ import annotations

import pytest
import torch
from hydra.utils import instantiate
from torch.nn.functional import cross_entropy

from ssl_rot.errors import ConfigError
from ssl_rot.models import Classifier, build_backbone, build_head

# A user's own parts, which behave like the shipped ones and record their inputs.
RECORDER = """
import torch
from ssl_rot.models import linear_head, resnet

inputs, steps, heads = [], [], []

def model(in_channels, **kwargs):
    backbone = resnet(in_channels, **kwargs)
    backbone.register_forward_pre_hook(lambda module, args: inputs.append(args[0].clone()))
    return backbone

def head(in_channels, num_classes):
    module = linear_head(in_channels, num_classes)
    heads.append(module)
    return module

class Loss(torch.nn.CrossEntropyLoss):
    def forward(self, logits, targets):
        if logits.requires_grad:  # a training step, not an evaluation
            weights = [p.detach().clone() for p in heads[-1].parameters()]
            steps.append((inputs[-1], targets.clone(), *(weights if not steps else [])))
        return super().forward(logits, targets)
"""

# A source whose labels or test images alone can be changed.
SOURCE = """
import torch
from ssl_rot.data import Source, Split, Images, digits
from dataclasses import replace

def source(image_size, labels, test):
    source = digits(image_size)
    train, other = source.train, source.test
    if labels == "reversed":
        train = Split(train.images, train.labels.flip(0))
    if test == "noise":
        noise = torch.randint(256, other.images.shape, dtype=torch.uint8)
        other = Split(Images(noise), other.labels.flip(0))
    return replace(source, train=train, test=other, fingerprint=labels + test)
"""


def same(first, second):
    return len(first) == len(second) and all(map(torch.equal, first, second))


def test_1_arms_differ_only_in_the_initial_weights_of_the_backbone(run_job, own_module, tmp_path):
    recorder = own_module("recorder", RECORDER)
    mine = [f"{key}._target_=recorder.{key}" for key in ("model", "head")]
    mine += ["loss._target_=recorder.Loss", "dataset.augment.crop_padding=1"]
    mine += ["dataset.augment.flip=true", "pretext.reuse=false"]

    def downstream(*overrides):
        for seen in (recorder.inputs, recorder.steps, recorder.heads):
            seen.clear()
        ran = run_job(tmp_path, *mine, *overrides)
        first, rest = recorder.steps[0], recorder.steps[1:]
        # 3 labels of 10 classes in batches of 16: two steps in each of two epochs. The
        # images and targets of all steps, and the head before the first.
        assert [len(s[0]) for s in recorder.steps] == [16, 14, 16, 14]
        return ran, [*first, *(tensor for step in rest for tensor in step)]

    supervised, reference = downstream("+experiment=supervised")
    rotation, seen = downstream("+experiment=rotation")
    assert same(seen, reference)
    assert not same(
        supervised.weights("downstream").values(), rotation.weights("downstream").values()
    )
    # Whatever random numbers the pretext phase used.
    _, seen = downstream("+experiment=rotation", "pretext.schedule.epochs=2")
    assert same(seen, reference)
    _, seen = downstream("+experiment=rotation", "pretext=rotation_2")
    assert same(seen, reference)
    _, seen = downstream("+experiment=supervised", "seed=1")
    assert not any(map(torch.equal, seen, reference))


def test_1_a_reused_pretext_gives_the_same_downstream_bits(run_job, tmp_path):
    fresh = run_job(tmp_path, "+experiment=rotation")
    reused = run_job(tmp_path, "+experiment=rotation")
    assert set(fresh.runs) == {"pretext", "downstream"}
    assert set(reused.runs) == {"downstream"}  # it pre-trained nothing
    source = reused.runs["downstream"].data.tags["ssl_rot.pretext_run_id"]
    assert source == fresh.runs["pretext"].info.run_id
    again = run_job(tmp_path, "+experiment=rotation", "pretext.reuse=false")
    assert set(again.runs) == {"pretext", "downstream"}

    def numbers(ran):
        timings = {"epoch_seconds", "images_per_second", "timestamp"}
        return [{k: row[k] for k in row.keys() - timings} for row in ran.history("downstream")]

    for other in (reused, again):
        assert same(fresh.weights("downstream").values(), other.weights("downstream").values())
        assert numbers(other) == numbers(fresh)


def test_1_a_pretraining_of_its_own_seed_serves_several_downstream_seeds(run_job, tmp_path):
    everything = ("dataset.train_size=null", "pretext.schedule.batch_size=256")

    def run(*overrides):
        return run_job(tmp_path, "+experiment=rotation", *everything, *overrides)

    first, second = (run(f"seed={seed}", "pretext.seed=5") for seed in (0, 1))
    assert set(first.runs) == {"pretext", "downstream"}
    assert set(second.runs) == {"downstream"}
    for ran in (first, second):
        assert ran.runs["downstream"].data.params["pretext.seed"] == "5"
    weights = [[*ran.weights("downstream").values()] for ran in (first, second)]
    assert not same(*weights)
    # Everything random in the pretext phase depends on pretext.seed alone.
    alone = run("seed=5", "pretext.reuse=false")
    assert alone.runs["downstream"].data.params["pretext.seed"] == "5"
    assert same(alone.weights("pretext").values(), first.weights("pretext").values())
    # And nothing of the downstream phase does.
    other = run("seed=0", "pretext.seed=6")
    assert not same(other.weights("downstream").values(), weights[0])
    assert (
        other.runs["downstream"].data.tags["ssl_rot.pair_key"]
        == (first.runs["downstream"].data.tags["ssl_rot.pair_key"])
    )


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["model.init=xavier", "head.init=xavier"],  # the article's script re-initialized here
        ["model.cut=stage1"],
        ["model=nin", "model.num_blocks=3", "dataset.train_size=30"],
    ],
    ids=["default", "xavier", "cut", "nin"],
)  # fmt: skip
def test_2_the_transfer_keeps_the_weights_bit_for_bit(run_job, tmp_path, overrides):
    ran = run_job(tmp_path, "+experiment=rotation", "freeze=backbone", *overrides)
    pretrained, moved = ran.backbone("pretext"), ran.backbone("downstream")
    assert any("running_var" in name for name in moved)  # buffers too
    assert moved.keys() <= pretrained.keys()
    assert all(torch.equal(moved[name], pretrained[name]) for name in moved)
    if "model.cut=stage1" in overrides:
        assert {name.split(".")[1] for name in moved} == {"stem", "stage1"}
    else:
        assert moved.keys() == pretrained.keys()


def test_3_label_budgets_are_nested(compose):
    def chosen(budget, seed):
        cfg = compose(f"dataset.labels_per_class={budget}")
        data = instantiate(cfg.dataset, seed=seed)
        assert data.train.labels.bincount().tolist() == [budget] * 10
        return {image.numpy().tobytes() for image in data.train.images[:]}

    assert chosen(1, 0) < chosen(5, 0) < chosen(20, 0)
    assert chosen(5, 0) != chosen(5, 1)


def test_3_the_pretext_sees_no_label_and_no_test_image(run_job, own_module, tmp_path):
    own_module("elsewhere", SOURCE)

    def pretrained(labels, test):
        ran = run_job(
            tmp_path,
            "+experiment=rotation",
            "dataset.source._target_=elsewhere.source",
            f"+dataset.source.labels={labels}",
            f"+dataset.source.test={test}",
            "dataset.train_size=null",
            "pretext.schedule.batch_size=256",
        )
        return ran.weights("pretext").values(), ran.weights("downstream").values()

    weights, downstream = pretrained("own", "own")
    other_weights, other_downstream = pretrained("reversed", "own")
    assert same(weights, other_weights)
    assert not same(downstream, other_downstream)
    # Rule 5 too, for both phases: other test images change no weight.
    other_weights, other_downstream = pretrained("own", "noise")
    assert same(weights, other_weights)
    assert same(downstream, other_downstream)


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("shared")


@pytest.mark.parametrize(
    ("overrides", "frozen"),
    [
        (["freeze=none"], set()),
        (["freeze=backbone"], {"stem", "stage1", "stage2"}),
        (["freeze=through", "freeze.stage=stem"], {"stem"}),
        (["freeze=through", "freeze.stage=stage1"], {"stem", "stage1"}),
        # Only the head is trained in the first epoch, stage2 too in the second.
        (["freeze=gradual", "freeze.every=1"], {"stem", "stage1"}),
        (["freeze=gradual", "freeze.every=2"], {"stem", "stage1", "stage2"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_4_frozen_means_frozen(run_job, shared_folder, overrides, frozen):
    ran = run_job(shared_folder, "+experiment=rotation", *overrides)
    before, after = ran.backbone("pretext"), ran.backbone("downstream")
    kinds = {name.rpartition(".")[2] for name in after}
    assert {"weight", "running_mean", "running_var", "num_batches_tracked"} <= kinds
    for name in after:
        stays = name.split(".")[1] in frozen
        assert torch.equal(before[name], after[name]) == stays, name


@pytest.mark.parametrize("phase", ["schedule", "pretext.schedule"])
@pytest.mark.parametrize("metric", ["test_acc", "test_loss", "train_acc"])
def test_5_nothing_but_the_validation_split_ends_a_phase(run_job, tmp_path, phase, metric):
    stop = [f"{phase}.early_stop.metric={metric}", f"{phase}.early_stop.threshold=0.5"]
    message = rf"{phase}.early_stop.metric={metric} is not allowed; it must be val_loss, val_acc"
    with pytest.raises(ConfigError, match=message):
        run_job(tmp_path, "+experiment=rotation", "dataset.val_fraction=0.1", *stop)


def test_5_early_stopping_is_refused_without_a_validation_split(run_job, tmp_path):
    stop = ["schedule.early_stop.metric=val_acc", "schedule.early_stop.threshold=0.5"]
    with pytest.raises(ConfigError, match=r"needs a validation split.*dataset\.val_fraction=0"):
        run_job(tmp_path, *stop)


def test_5_early_stopping_by_the_validation_split_ends_both_phases(run_job, tmp_path):
    overrides = ["+experiment=rotation", "dataset.val_fraction=0.1", "pretext.schedule.epochs=2"]
    for phase in ("schedule", "pretext.schedule"):
        overrides += [f"{phase}.early_stop.metric=val_acc", f"{phase}.early_stop.threshold=0.0"]
    ran = run_job(tmp_path, *overrides)
    assert len(ran.history("pretext")) == len(ran.history("downstream")) == 1


def test_5_validation_images_are_taken_out_of_the_budget_downstream_only(run_job, tmp_path):
    plain = run_job(tmp_path, "+experiment=rotation")
    tuned = run_job(tmp_path, "+experiment=rotation", "dataset.val_per_class=1")
    assert set(tuned.runs) == {"downstream"}  # the pre-training is the same
    assert "val_acc" not in plain.history("pretext")[-1]
    assert tuned.value == tuned.history("downstream")[-1]["val_acc"]
    labels = [ran.history("downstream")[-1]["images_processed"] / 2 for ran in (plain, tuned)]
    assert labels == [30, 20]


def test_5_the_last_epoch_is_reported_not_the_best(run_job, tmp_path):
    ruin = ["schedule=step", "schedule.scheduler.milestones=[5]", "schedule.scheduler.gamma=100"]
    ran = run_job(tmp_path, *ruin, "schedule.epochs=6", "dataset.labels_per_class=5")
    *before, last = [record["test_acc"] for record in ran.history("downstream")]
    assert max(before) > last + 0.1  # otherwise this test shows nothing
    assert ran.value == last
    assert f"test accuracy {last:.4f}" in ran.output


def test_6_means_are_per_sample(run_job, compose, tmp_path):
    # 360 test images are evaluated in batches of 256 and 104.
    ran = run_job(tmp_path, "+experiment=supervised")
    cfg = compose("dataset.image_size=8", "model.widths=[8,16]", "model.blocks=[1,1]")
    data = instantiate(cfg.dataset, seed=0)
    backbone = build_backbone(cfg.model, in_channels=1, seed=0)
    head = build_head(cfg.head, in_channels=16, num_classes=10, seed=0)
    model = Classifier(backbone, head)
    model.load_state_dict(ran.weights("downstream"))
    model.eval()
    pixels = data.test.images[:].double() / 255
    inputs = ((pixels - data.mean[0]) / data.std[0]).float()
    with torch.inference_mode():
        logits = model(inputs).double()
    last = ran.history("downstream")[-1]
    loss = cross_entropy(logits, data.test.labels)
    assert last["test_loss"] == pytest.approx(loss.item(), rel=1e-4)
    hits = int((logits.argmax(1) == data.test.labels).sum())
    assert last["test_acc"] == hits / 360


def test_7_cost_is_counted_including_the_pretext(run_job, tmp_path):
    arguments = ("+experiment=rotation", "pretext.schedule.epochs=2", "schedule.epochs=3")
    ran = run_job(tmp_path, *arguments)
    pretext, downstream = ran.history("pretext"), ran.history("downstream")
    # 96 images in 4 rotations each; 3 labels for each of 10 classes.
    assert [row["images_processed"] for row in pretext] == [384, 768]
    assert [row["images_processed"] for row in downstream] == [30, 60, 90]
    assert all(row["epoch_seconds"] > 0 for row in pretext + downstream)
    seconds = sum(row["epoch_seconds"] for row in pretext + downstream)
    total = next(line for line in ran.output.splitlines() if "total" in line).split()
    assert total == ["total", "858", "images", f"{seconds:.1f}", "s"]
    two_rotations = run_job(tmp_path, *arguments, "pretext=rotation_2")
    assert two_rotations.history("pretext")[-1]["images_processed"] == 384


def test_7_a_reference_at_equal_images(run_job, tmp_path):
    """With ``schedule.match_images`` supervised-only processes the pretext's images too."""
    matched = ("schedule.match_images=true", "pretext.schedule.epochs=2", "schedule.epochs=3")
    rotation = run_job(tmp_path, "+experiment=rotation", *matched)
    reference = run_job(tmp_path, "+experiment=supervised", *matched)
    total = rotation.history("pretext")[-1]["images_processed"]
    assert total == 4 * 2 * 96
    total += rotation.history("downstream")[-1]["images_processed"]
    assert len(reference.history("downstream")) == 3
    assert abs(reference.history("downstream")[-1]["images_processed"] - total) < 3
    tags, others = (ran.runs["downstream"].data for ran in (rotation, reference))
    assert tags.tags["ssl_rot.pair_key"] == others.tags["ssl_rot.pair_key"]
    assert tags.params["schedule.matched_samples"] == others.params["schedule.matched_samples"]
    # Nothing changes for the arm with a pretext, and another number of images is no partner.
    plain = run_job(tmp_path, "+experiment=rotation", *matched[1:])
    assert set(plain.runs) == {"downstream"}
    assert same(rotation.weights("downstream").values(), plain.weights("downstream").values())
    longer = run_job(tmp_path, "pretext=rotation_8", *matched)
    assert longer.runs["downstream"].data.tags["ssl_rot.pair_key"] != tags.tags["ssl_rot.pair_key"]
