"""The stages of a run: set up, pre-train or take finished weights, train downstream, sum up.

Both phases are trained and recorded by the same function; they differ in what they are given.
"""

from __future__ import annotations

import csv
import hashlib
import logging
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import torch
import torchvision
from hydra.utils import instantiate
from omegaconf import OmegaConf
from safetensors.torch import save_file

import ssl_rot
from ssl_rot import figures
from ssl_rot.config import flatten
from ssl_rot.data import Batches, Dataset, Images
from ssl_rot.errors import UserError, WeightsError, as_text
from ssl_rot.freeze import Nothing, Policy
from ssl_rot.keys import Keys, compute_keys
from ssl_rot.models import Classifier, build_backbone, build_head, linear_head
from ssl_rot.pretext import Pretext
from ssl_rot.schedules import Schedule
from ssl_rot.seeding import seeded
from ssl_rot.tracking import WEIGHTS, RunLog, Tag, Tracker
from ssl_rot.train import Compute, Record, fit, predict

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """What the stages of one run share."""

    config: dict[str, Any]
    params: dict[str, str]
    folder: Path
    compute: Compute
    data: Dataset
    pretext: Pretext
    keys: Keys
    tracker: Tracker
    weights: Path | None

    @property
    def seed(self) -> int:
        return int(self.config["seed"])

    @property
    def arm(self) -> str:
        return "rotation" if self.pretext.angles else "supervised"


@dataclass(frozen=True)
class Phase:
    """A finished phase: its MLflow run, its weights and its history."""

    run_id: str
    weights: Path
    history: list[Record]
    reused: bool = False


def set_up(config: dict[str, Any], choices: Mapping[str, str], folder: Path) -> Job:
    """Loads the data and finds out what the run is: its keys and its place in the tracking store.

    Args:
        config: valid and resolved.
        choices: the chosen option of each group.
        folder: of the run's files.
    """
    compute = _compute(config["device"], config["precision"])
    tracker = Tracker(**config["tracking"])
    data: Dataset = _instantiate(config["dataset"], seed=config["seed"])
    pretext: Pretext = _instantiate(config["pretext"])
    weights = _starting_weights(config["model"].get("weights"), tracker, folder)
    keys = compute_keys(
        config,
        data=data.fingerprint,
        precision=compute.precision,
        weights=None if weights is None else hashlib.sha256(weights.read_bytes()).hexdigest(),
    )
    params = {key: as_text(value) for key, value in flatten(config).items()}
    # The option's name beside its keys: what people group and filter by.
    params |= {group: name for group, name in choices.items() if group in config}
    folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(OmegaConf.create(config), folder / "config.yaml")
    return Job(config, params, folder, compute, data, pretext, keys, tracker, weights)


def pretext(job: Job) -> Phase | None:
    """Pre-trains the backbone, or takes finished weights with the same key from MLflow.

    Of several processes that want the same weights at once one trains, and the others wait.
    """
    key = job.keys.pretext
    if key is None:
        return None
    if not job.pretext.reuse:
        return _pretrain(job)
    with job.tracker.lock(f"pretext-{key}"):
        found = job.tracker.find("pretext", Tag.PRETEXT_KEY, key)
        if found is None:
            return _pretrain(job)
    run_id = found.info.run_id
    log.info("Taking the pretext weights of run %s", run_id)
    weights = job.tracker.weights(run_id, job.folder / "pretext")
    prefix = "pretext/"
    last = {k.removeprefix(prefix): v for k, v in found.data.metrics.items() if prefix in k}
    return Phase(run_id, weights, [last], reused=True)


def _pretrain(job: Job) -> Phase:
    job_pretext, data = job.pretext, job.data
    angles = job_pretext.angles
    backbone = build_backbone(
        job.config["model"], in_channels=_channels(data), seed=job.seed, weights=job.weights
    )
    with seeded(job.seed, "pretext", "head"):
        model = Classifier(backbone, linear_head(backbone.out_channels, len(angles)))
    batches = partial(_batches, job, "pretext", job_pretext.schedule, turn=job_pretext.turn)
    train = batches(data.pretext_images, None, train=True)
    evaluations = {"test": batches(data.test.images, None)}
    if data.val is not None:
        evaluations["val"] = batches(data.val.images, None)

    def draw(folder: Path) -> None:
        inputs, targets = next(train.epoch(1))
        figures.turned_batch(
            inputs, targets, angles, data.mean, data.std, folder / "turned_batch.png"
        )

    return _train(
        job,
        "pretext",
        model,
        train,
        evaluations,
        loss_fn=job_pretext.loss,
        schedule=job_pretext.schedule,
        policy=Nothing(),
        draw=draw,
        tags={Tag.PRETEXT_KEY: str(job.keys.pretext)},
    )


def downstream(job: Job, pretrained: Phase | None) -> Phase:
    """Puts a new head on the backbone and trains on the labelled images."""
    config, data = job.config, job.data
    # From the file also when it was trained just now: taken or trained, the bits are the same.
    start = job.weights if pretrained is None else pretrained.weights
    backbone = build_backbone(
        config["model"], in_channels=_channels(data), seed=job.seed, weights=start
    )
    if config["model"].get("cut") is not None:
        backbone = backbone.cut(config["model"]["cut"])
    head = build_head(
        config["head"],
        in_channels=backbone.out_channels,
        num_classes=len(data.classes),
        seed=job.seed,
    )
    model = Classifier(backbone, head)
    schedule: Schedule = _instantiate(config["schedule"])
    batches = partial(_batches, job, "downstream", schedule)
    test = batches(data.test.images, data.test.labels)
    evaluations = {"test": test}
    if data.val is not None:
        evaluations["val"] = batches(data.val.images, data.val.labels)

    def draw(folder: Path) -> None:
        guesses, truths = predict(model, test, job.compute)
        accuracy = float((guesses == truths).double().mean())
        title = f"{data.name}, {job.arm}, last epoch: {accuracy:.1%} of the test images"
        path = folder / "confusion_matrix.png"
        figures.confusion_matrix(guesses, truths, data.classes, title, path)

    tags = {Tag.PAIR_KEY: job.keys.pair}
    if pretrained is not None:
        tags |= {
            Tag.PRETEXT_KEY: str(job.keys.pretext),
            Tag.PRETEXT_RUN_ID: pretrained.run_id,
        }
    return _train(
        job,
        "downstream",
        model,
        batches(data.train.images, data.train.labels, train=True),
        evaluations,
        loss_fn=_instantiate(config["loss"]),
        schedule=schedule,
        policy=_instantiate(config["freeze"]),
        draw=draw,
        tags=tags,
    )


def _train(
    job: Job,
    phase: str,
    model: Classifier,
    train: Batches,
    evaluations: Mapping[str, Batches],
    *,
    loss_fn: torch.nn.Module,
    schedule: Schedule,
    policy: Policy,
    draw: Callable[[Path], None],
    tags: Mapping[str, str],
) -> Phase:
    """Trains a phase and leaves its record in MLflow and in the run's folder."""
    folder = job.folder / phase
    folder.mkdir(parents=True, exist_ok=True)
    arm_or_pretext = job.arm if phase == "downstream" else "pretext"
    name = f"{arm_or_pretext}-{job.data.name}-seed{job.seed}"
    common = {Tag.PHASE: phase, Tag.ARM: job.arm, Tag.CONFIG_KEY: job.keys.config, **_versions()}
    prefix = "pretext/" if phase == "pretext" else ""
    with job.tracker.start(name, common | dict(tags), job.params) as record:
        record.artifact(job.folder / "config.yaml")
        history = fit(
            model,
            train,
            evaluations,
            loss_fn=loss_fn,
            schedule=schedule,
            policy=policy,
            compute=job.compute,
            seed=job.seed,
            phase=phase,
            log=partial(_log_epoch, record, folder / "history.csv", prefix),
        )
        weights = folder / WEIGHTS
        save_file({k: v.contiguous().cpu() for k, v in model.state_dict().items()}, weights)
        figures.curves(history, name, folder / "figures" / "curves.png")
        draw(folder / "figures")
        for path in (weights, folder / "history.csv"):
            record.artifact(path)
        for path in sorted((folder / "figures").iterdir()):
            record.artifact(path, "figures")
    return Phase(record.run_id, weights, history)


def _log_epoch(run: RunLog, path: Path, prefix: str, epoch: int, record: Record) -> None:
    """The disk first: what MLflow cannot take is not lost."""
    with path.open("a" if epoch > 1 else "w", newline="") as file:
        writer = csv.writer(file)
        if epoch == 1:
            writer.writerow(["epoch", *record])
        writer.writerow([epoch, *record.values()])
    run.metrics(epoch, record, prefix)


def summarise(job: Job, pretrained: Phase | None, downstream: Phase) -> None:
    """Prints what came out, what it cost, and where to look."""
    total = [0.0, 0.0]
    lines = []
    for name, phase in (("pretext", pretrained), ("downstream", downstream)):
        if phase is None:
            continue
        last = phase.history[-1]
        seconds = sum(record["epoch_seconds"] for record in phase.history)
        cost = f"{last['images_processed']:>11,.0f} images {seconds:>8.1f} s"
        if phase.reused:
            cost = f"taken from run {phase.run_id}"
        else:
            total = [total[0] + last["images_processed"], total[1] + seconds]
        lines.append(f"  {name:<11} test accuracy {last['test_acc']:.4f}  {cost}")
    lines.append(f"  {'total':<33}{total[0]:>11,.0f} images {total[1]:>8.1f} s")
    experiment = job.tracker.experiment_name
    look = f'mlflow ui, experiment "{experiment}", run {downstream.run_id}'
    lines += [f"  weights     {downstream.weights}", f"  record      {look}"]
    print("\n".join([f"\n{job.data.name}, {job.arm}, seed {job.seed}", *lines]), flush=True)


def _compute(device: str, precision: str) -> Compute:
    if device == "auto":
        mps = torch.backends.mps.is_available()
        device = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    if precision == "auto":
        precision = "bf16" if _has_bf16(device) else "fp32"
    return Compute(torch.device(device), precision)


def _has_bf16(device: str) -> bool:
    """Whether the hardware itself computes in bfloat16; emulation is slower than float32."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device == "cpu" and hasattr(torch.cpu, "get_capabilities"):
        there = torch.cpu.get_capabilities()
        return any(there.get(name) for name in ("avx512_bf16", "amx_bf16", "amx_tile"))
    return False


def _instantiate(node: Mapping[str, Any], **extra: Any) -> Any:
    """Hydra wraps what a target raises; the user's message is inside."""
    try:
        return instantiate(dict(node), **extra)
    except Exception as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        raise


def _starting_weights(name: str | None, tracker: Tracker, folder: Path) -> Path | None:
    if name is None or Path(name).is_file():
        return None if name is None else Path(name)
    if len(name) == 32 and set(name) <= set("0123456789abcdef"):
        return tracker.weights(name, folder / "start")
    raise WeightsError(f"model.weights={name} is neither a file nor the id of an MLflow run")


def _channels(data: Dataset) -> int:
    return int(data.test.images.shape[1])


def _batches(
    job: Job,
    stream: str,
    schedule: Schedule,
    images: Images,
    labels: torch.Tensor | None,
    *,
    train: bool = False,
    turn: Any = None,
) -> Batches:
    return Batches(
        images,
        labels,
        # Evaluation keeps no activations for a backward pass, so that larger batches fit.
        batch_size=schedule.batch_size if train else max(schedule.batch_size, 256),
        device=job.compute.device,
        mean=job.data.mean,
        std=job.data.std,
        augment=job.data.augment if train else None,
        turn=turn,
        seed=job.seed,
        stream=stream,
        shuffle=train,
    )


def _versions() -> dict[str, str]:
    return {
        "ssl_rot.version": ssl_rot.__version__,
        "version.python": platform.python_version(),
        "version.torch": torch.__version__,
        "version.torchvision": torchvision.__version__,
        "version.mlflow": mlflow.__version__,
    }
