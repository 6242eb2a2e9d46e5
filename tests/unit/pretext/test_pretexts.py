"""What every option of the group ``pretext`` keeps to, found by its file."""

from pathlib import Path

import pytest
import torch

from ssl_rot.config.validation import validate
from ssl_rot.experiment.context import load_training_context
from ssl_rot.experiment.phases import downstream_phase, pretext_phase
from ssl_rot.pretext import Pretext
from ssl_rot.sweep.plan import _count_pretext_images
from ssl_rot.training.evaluation import evaluate
from ssl_rot.training.loop import fit

CONF = Path(__file__).resolve().parents[3] / "conf"
TASKS = sorted({p.stem for p in CONF.rglob("pretext/*.yaml")} - {"none", "weights"})
TINY = (
    *("dataset.image_size=8", "dataset.train_size=40", "dataset.labels_per_class=2"),
    *("model.widths=[8,16]", "model.blocks=[1,1]", "precision=fp32", "dataset.val_fraction=0.1"),
    *("pretext.schedule.epochs=2", "pretext.schedule.batch_size=16"),
)


@pytest.fixture
def open_context(compose):
    return lambda *overrides: load_training_context(validate(compose(*TINY, *overrides)))


@pytest.mark.parametrize("name", TASKS)
def test_the_protocol(open_context, name):
    context = open_context(f"pretext={name}")
    pretext = context.pretext
    assert isinstance(pretext, Pretext)
    assert pretext.name == pretext.tag == name
    phase = pretext_phase(context, None)
    assert set(phase.evaluations) == {"test", "val"}
    before = torch.get_rng_state()
    inputs, targets = next(phase.train.epoch(1))
    again, targets_again = next(phase.train.epoch(1))
    assert torch.equal(torch.get_rng_state(), before)  # nothing draws from a global stream
    assert torch.equal(inputs, again)
    assert torch.equal(targets, targets_again)
    assert inputs.dtype == torch.float32
    assert inputs.shape[1:] == (1, 8, 8)
    assert targets.dtype == torch.int64
    assert len(inputs) == len(targets) == 16 * pretext.views
    logits = context.compute.logits(phase.model, inputs)
    assert logits.shape[0] == len(targets)
    assert 0 <= int(targets.min()) <= int(targets.max()) < logits.shape[1]
    rows = pretext.figure(inputs, targets)
    assert all(len(images) for images in rows.values())
    assert 1 <= len(rows) <= 10


@pytest.mark.parametrize("name", TASKS)
def test_metrics_count_every_sample_and_labels_change_nothing(open_context, name):
    def trained(labels_per_class):
        context = open_context(f"pretext={name}", f"dataset.labels_per_class={labels_per_class}")
        phase = pretext_phase(context, None)
        return context, phase, fit(phase, context.compute, log=lambda *_: None)

    context, phase, history = trained(2)
    samples = len(context.data.pretext_images) * context.pretext.views
    assert [row["images_processed"] for row in history] == [samples, 2 * samples]
    assert _count_pretext_images(context) == 2 * samples  # what a sweep plans with
    for split, batches in phase.evaluations.items():
        loss, accuracy = evaluate(phase.model, batches, phase.loss_fn, context.compute)
        assert (history[-1][f"{split}_loss"], history[-1][f"{split}_acc"]) == (loss, accuracy)
    _, other, _ = trained(1)
    weights, others = phase.model.state_dict(), other.model.state_dict()
    assert all(torch.equal(weights[key], others[key]) for key in weights)


@pytest.mark.parametrize("name", TASKS)
def test_a_pre_training_is_shared_by_label_budgets(run_job, tmp_path, name):
    first = run_job(tmp_path, f"pretext={name}")
    second = run_job(tmp_path, f"pretext={name}", "dataset.labels_per_class=2")
    assert (set(first.runs), set(second.runs)) == ({"pretext", "downstream"}, {"downstream"})
    assert first.runs["downstream"].data.tags["ssl_rot.arm"] == name
    used = second.runs["downstream"].data.tags["ssl_rot.pretext_run_id"]
    assert used == first.runs["pretext"].info.run_id


def test_a_pretext_of_another_kind_is_refused(compose, own_module):
    own_module("own_pretext", "class Nothing:\n    def __init__(self, **keys): pass\n")
    cfg = compose(*TINY, "pretext._target_=own_pretext.Nothing")
    with pytest.raises(Exception, match=r"makes a Nothing, which is not an ssl_rot\.pretext"):
        load_training_context(validate(cfg))


def test_random_targets_stay_with_their_image_and_are_at_chance_on_others(open_context):
    long = ("pretext.schedule.epochs=30", "pretext.classes=4", "dataset.augment.crop_padding=0")
    context = open_context("pretext=random_targets", *long)
    phase = pretext_phase(context, None)

    def targets_by_image(epoch):
        pairs = [pair for batch in phase.train.epoch(epoch) for pair in zip(*batch, strict=True)]
        return {image.numpy().tobytes(): int(target) for image, target in pairs}

    assert targets_by_image(1) == targets_by_image(2)
    assert len(set(targets_by_image(1).values())) == 4
    last = fit(phase, context.compute, log=lambda *_: None)[-1]
    assert last["train_acc"] > 0.5  # learned by heart
    assert abs(last["test_acc"] - 1 / 4) < 3 * (0.25 * 0.75 / 360) ** 0.5


def test_random_targets_differ_between_seeds_and_splits(open_context):
    def targets(seed, split):
        phase = pretext_phase(open_context("pretext=random_targets", f"seed={seed}"), None)
        batches = {"train": phase.train, **phase.evaluations}[split]
        return batches.labels[:36]

    drawn = [targets(0, "train"), targets(1, "train"), targets(0, "test")]
    assert not any(torch.equal(drawn[i], drawn[j]) for i, j in ((0, 1), (0, 2), (1, 2)))


def test_statistics_are_measured_and_no_parameter_is_moved(open_context):
    context = open_context("pretext=statistics")
    phase = pretext_phase(context, None)
    before = {key: value.clone() for key, value in phase.model.backbone.state_dict().items()}
    last = fit(phase, context.compute, log=lambda *_: None)[-1]
    after = phase.model.backbone.state_dict()
    parameters = {name for name, _ in phase.model.backbone.named_parameters()}
    assert all(torch.equal(after[name], before[name]) for name in parameters)
    moved = [
        name for name in before.keys() - parameters if not torch.equal(after[name], before[name])
    ]
    assert set(moved) == before.keys() - parameters  # every buffer
    assert (last["test_loss"], last["test_acc"]) == (0.0, 1.0)
    start = downstream_phase(open_context("pretext=none"), None).model.backbone.state_dict()
    assert all(torch.equal(after[name], start[name]) for name in parameters)
