"""Training and evaluation on tensors: results, metrics, freezing and errors."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from hydra.utils import instantiate
from torch import nn
from torch.nn.functional import cross_entropy

from ssl_rot.data import Batches
from ssl_rot.errors import NonFiniteLoss
from ssl_rot.freeze import FreezeNothing, FreezeThrough, GradualUnfreezing
from ssl_rot.models import Classifier, StagedBackbone, linear_head, resnet
from ssl_rot.schedules import EarlyStop, Schedule
from ssl_rot.training.compute import Compute
from ssl_rot.training.evaluation import evaluate, predict
from ssl_rot.training.loop import fit
from ssl_rot.training.phase import Phase

CPU = Compute(torch.device("cpu"), "fp32")


def toy_set(count: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    """uint8 ``[N, 1, 8, 8]`` of two classes: a bright upper or a bright lower half."""
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(0, 100, (count, 1, 8, 8), generator=draws)
    labels = torch.arange(count) % 2
    for label, rows in ((0, slice(0, 4)), (1, slice(4, 8))):
        images[labels == label, :, rows] += 150
    return images.to(torch.uint8), labels


def batches(images, labels, *, batch_size=16, train=True, seed=0) -> Batches:
    return Batches(
        images, labels, batch_size=batch_size, device="cpu", mean=(0.5,), std=(0.25,),
        augment=None, seed=seed, stream="downstream", shuffle=train,
    )  # fmt: skip


def plain_model() -> Classifier:
    """No BatchNorm: a sample's logits depend on that sample alone."""
    torch.manual_seed(0)
    stages = {"one": nn.Conv2d(1, 4, 3), "two": nn.Sequential(nn.ReLU(), nn.Conv2d(4, 4, 3))}
    head = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    return Classifier(StagedBackbone(stages, [4, 4]), head)


def norm_model() -> Classifier:
    torch.manual_seed(0)
    net = resnet(1, widths=[8, 16], blocks=[1, 1], large_stem=False, bias=False, shortcut_norm=True)
    return Classifier(net, linear_head(16, 2))


@pytest.fixture
def train():
    """``fit`` on the toy set, with defaults for everything that a test does not set."""

    def run(model=None, *, images=None, labels=None, lr=0.1, epochs=3, batch_size=16, **changes):
        if images is None:
            images, labels = toy_set()
        schedule = Schedule(
            epochs=epochs,
            batch_size=batch_size,
            lr=lr,
            optimizer=changes.pop("optimizer", partial(torch.optim.SGD, lr=lr, momentum=0.9)),
            early_stop=changes.pop("early_stop", EarlyStop()),
        )
        log = changes.pop("log", lambda epoch, record: None)
        defaults = {
            "name": "downstream",
            "evaluations": {"test": batches(images, labels, batch_size=50, train=False)},
            "loss_fn": nn.CrossEntropyLoss(),
            "freeze": FreezeNothing(),
            "schedule": schedule,
            "seed": 0,
        }
        phase = Phase(
            model=plain_model() if model is None else model,
            train=batches(images, labels, batch_size=batch_size),
            **(defaults | changes),
        )
        return fit(phase, CPU, log=log)

    return run


@pytest.mark.parametrize("make", [plain_model, norm_model])
def test_a_separable_set_is_learned(train, make):
    history = train(make(), epochs=8)
    assert history[-1]["test_acc"] == history[-1]["train_acc"] == 1
    assert history[-1]["test_loss"] < 0.1 < history[0]["train_loss"]


def test_every_epoch_is_logged_as_soon_as_it_ends(train):
    logged = []
    history = train(epochs=3, log=lambda epoch, record: logged.append((epoch, dict(record))))
    assert logged == list(enumerate(history, start=1))
    names = {"train_loss", "train_acc", "test_loss", "test_acc"}
    cost = {"lr", "epoch_seconds", "images_per_second", "images_processed"}
    assert all(record.keys() == names | cost for record in history)


def test_training_means_are_per_sample_with_a_ragged_last_batch(train):
    images, labels = toy_set(21)  # 16 and 5
    model = plain_model()
    inputs = ((images.double() / 255 - 0.5) / 0.25).float()
    logits = model(inputs).double()
    (record,) = train(model, images=images, labels=labels, lr=1e-30, epochs=1)
    for split in ("train", "test"):
        assert record[f"{split}_loss"] == pytest.approx(cross_entropy(logits, labels).item())
        hits = int((logits.argmax(1) == labels).sum())
        assert record[f"{split}_acc"] == hits / 21


def test_evaluation_has_no_side_effects_and_does_not_depend_on_the_batch_size():
    images, labels = toy_set(21)
    model = norm_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    loss_fn = nn.CrossEntropyLoss()
    small = evaluate(model, batches(images, labels, batch_size=4, train=False), loss_fn, CPU)
    large = evaluate(model, batches(images, labels, batch_size=21, train=False), loss_fn, CPU)
    assert small == pytest.approx(large, rel=1e-6)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_predictions_keep_the_order_of_the_split():
    images, labels = toy_set(21)
    model = plain_model()
    predictions, targets, _ = predict(
        model, batches(images, labels, batch_size=4, train=False), CPU
    )
    inputs = (images.float() / 255 - 0.5) / 0.25
    assert torch.equal(targets, labels)
    assert torch.equal(predictions, model(inputs).argmax(1))


def test_cost_counts_the_samples_trained_on(train):
    history = train(epochs=3)
    assert [record["images_processed"] for record in history] == [64, 128, 192]
    for record in history:  # epoch_seconds includes the evaluation
        assert record["images_per_second"] >= 64 / record["epoch_seconds"]


def one_cycle(step: int) -> float:
    share = (step - 2.6) / (11 - 2.6)
    return 4e-7 + (0.1 - 4e-7) / 2 * (1 + math.cos(math.pi * share))


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["schedule=step", "schedule.scheduler.milestones=[1]"], [0.1, 0.02, 0.02]),
        # 4 steps per epoch, 12 in total: the peak is after 0.3 * 12 - 1 steps, the end after 11.
        (["schedule=onecycle"], [0.004, one_cycle(4), one_cycle(8)]),
    ],
    ids=["by epoch", "by step"],
)
def test_lr_is_logged_as_of_the_start_of_the_epoch(compose, train, overrides, expected):
    cfg = compose(*overrides, "schedule.epochs=3", "schedule.lr=0.1")
    images, labels = toy_set()
    history = train(images=images, labels=labels, schedule=instantiate(cfg.schedule))
    assert [record["lr"] for record in history] == pytest.approx(expected)


def test_early_stop_ends_after_the_epoch_that_reaches_the_target(train):
    history = train(epochs=20, lr=0.005, early_stop=EarlyStop("test_acc", 1.0, allow_test=True))
    assert 1 < len(history) < 20
    assert [record["test_acc"] == 1 for record in history] == [False] * (len(history) - 1) + [True]


class NanAt(nn.CrossEntropyLoss):
    """A loss that is NaN or infinite in one training step."""

    def __init__(self, step: int, value: float = float("nan")) -> None:
        super().__init__()
        self.steps_until, self.value = step, value

    def forward(self, logits, targets):
        loss = super().forward(logits, targets)
        if logits.requires_grad:
            self.steps_until -= 1
            if self.steps_until == 0:
                return loss * self.value
        return loss


@pytest.mark.parametrize(
    ("at", "epoch", "step"),
    [(1, 1, 1), (3, 1, 3), (50, 1, 50), (51, 1, 51), (64, 1, 64), (70, 2, 6)],
)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_non_finite_loss_is_reported_with_its_epoch_and_step(train, at, epoch, step, value):
    # 64 steps per epoch: more than one check covers.
    message = rf"^The downstream loss is not finite at epoch {epoch}, step {step} \(lr 0\.002\)"
    with pytest.raises(NonFiniteLoss, match=message) as caught:
        train(batch_size=1, lr=0.002, loss_fn=NanAt(at, value))
    assert "schedule.lr=0.0002" in str(caught.value)


def test_a_diverging_pretext_names_its_own_lr_key(train):
    with pytest.raises(NonFiniteLoss, match=r"The pretext loss .* try pretext\.schedule\.lr=0\.01"):
        train(name="pretext", loss_fn=NanAt(2))


def test_an_epoch_whose_last_step_broke_the_network_is_not_logged(train):
    logged = []
    with pytest.raises(NonFiniteLoss, match="epoch 1, step 4"):
        train(
            norm_model(), epochs=1, optimizer=BreaksAtTheEnd, log=lambda *args: logged.append(args)
        )
    assert logged == []


class BreaksAtTheEnd(torch.optim.SGD):
    """Its fourth step, the last of the epoch, sets weights to NaN after the last training loss."""

    def __init__(self, parameters) -> None:
        super().__init__(parameters, lr=0.1)
        self.steps = 0

    def step(self, closure=None):
        super().step(closure)
        self.steps += 1
        if self.steps == 4:
            with torch.no_grad():
                self.param_groups[0]["params"][0].fill_(float("nan"))


@pytest.mark.parametrize(
    ("policy", "frozen_stages"),
    [
        (FreezeThrough("stem"), [1, 1, 1, 1]),
        (GradualUnfreezing(1), [3, 2, 1, 0]),
        (GradualUnfreezing(2), [3, 3, 2, 2]),
    ],
    ids=str,
)
def test_the_optimizer_has_exactly_the_parameters_that_are_not_frozen(train, policy, frozen_stages):
    made = []

    class Recorder(torch.optim.SGD):
        def __init__(self, parameters) -> None:
            super().__init__(parameters, lr=0.1, momentum=0.9, weight_decay=0.1)
            made.append(self)

    model = norm_model()
    stages = model.backbone.stage_names
    previous = {name: value.clone() for name, value in model.state_dict().items()}
    epochs = iter(frozen_stages)

    def check(epoch, record):
        frozen = [f"backbone.{stage}." for stage in stages[: next(epochs)]]
        (group,) = made[0].param_groups
        optimized = [id(p) for p in group["params"]]
        assert len(optimized) == len(set(optimized))
        assert set(optimized) == {
            id(p) for name, p in model.named_parameters() if not name.startswith(tuple(frozen))
        }
        for name, value in model.state_dict().items():
            same = torch.equal(value, previous[name])
            assert same == name.startswith(tuple(frozen)), (epoch, name)
            previous[name] = value.clone()

    train(model, epochs=4, optimizer=Recorder, freeze=policy, log=check)
    assert next(epochs, None) is None


def test_the_same_seed_gives_the_same_bits_whatever_was_drawn_before(train):
    def weights(seed, drawn):
        model = plain_model()
        dropout = Classifier(model.backbone, nn.Sequential(nn.Dropout(0.5), model.head))
        torch.rand(drawn)  # other code draws from the global stream
        train(dropout, seed=seed)
        return list(dropout.state_dict().values())

    first, again, other = weights(0, drawn=1), weights(0, drawn=20), weights(1, drawn=1)
    assert all(map(torch.equal, first, again))
    assert not all(map(torch.equal, first, other))


class RecordingDropout(nn.Dropout):
    """Dropout that records which of its inputs it zeroes in training."""

    def __init__(self) -> None:
        super().__init__(0.5)
        self.masks: list[torch.Tensor] = []

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        outputs = super().forward(torch.ones_like(inputs))
        if self.training:
            self.masks.append(outputs == 0)
        return inputs * outputs


def test_dropout_masks_differ_between_steps_epochs_and_seeds_and_repeat_with_the_seed(train):
    def masks(seed):
        model, dropout = plain_model(), RecordingDropout()
        train(Classifier(model.backbone, nn.Sequential(dropout, model.head)), seed=seed)
        return dropout.masks

    first, again, other = masks(0), masks(0), masks(1)
    assert len(first) == 3 * 4  # epochs and steps
    assert len({tuple(mask.flatten().tolist()) for mask in first}) == len(first)
    assert all(map(torch.equal, first, again))
    assert not any(map(torch.equal, first, other))


def test_bfloat16_computes_the_network_and_float32_the_loss():
    model, seen = norm_model(), []
    model.backbone.register_forward_hook(lambda module, args, output: seen.append(output.dtype))
    CPU.place(model)
    logits = Compute(torch.device("cpu"), "bf16").logits(model, torch.rand(4, 1, 8, 8))
    assert seen == [torch.bfloat16]
    assert logits.dtype == torch.float32
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
