"""The stages of a run: pre-train or take finished weights, train downstream, sum up.

Both phases are recorded in the same way; they differ in the network, the batches and the task.
"""

from __future__ import annotations

import logging
import platform
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from itertools import count
from pathlib import Path

import mlflow
import torch
from mlflow.entities import Run
from mlflow.utils.git_utils import get_git_commit
from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT
from omegaconf import OmegaConf

import ssl_rot
from ssl_rot import figures, files
from ssl_rot.checkpoint import Checkpoints
from ssl_rot.confdir import CHECKOUT_CONF
from ssl_rot.errors import TrackingError
from ssl_rot.followers import Order
from ssl_rot.history import History
from ssl_rot.interrupt import Interrupts
from ssl_rot.job import Job
from ssl_rot.models.weights import save_weights
from ssl_rot.profiling import profiled
from ssl_rot.tasks import Task, downstream_task, pretext_task
from ssl_rot.tracking import HISTORY, WEIGHTS, RunLog, Tag
from ssl_rot.train import Record, predict

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Phase:
    """A finished phase: its MLflow run, its weights and its history.

    Without ``run_id`` MLflow was away when it began, and is told of it at the end.
    """

    run_id: str | None
    weights: Path
    history: list[Record]
    reused: bool = False


def pretext(job: Job) -> Phase | None:
    """Pre-trains the backbone, or takes finished weights with the same key from MLflow.

    Of several processes that want the same weights at once one trains, and the others wait.
    """
    key = job.keys.pretext
    if key is None:
        return None
    if not job.pretext.reuse and not job.resume:
        return _pretrain(job, key)
    taken = _take(job, key)
    if taken is not None:
        return taken
    with job.tracker.lock(f"pretext-{key}", everywhere=True):
        return _take(job, key) or _pretrain(job, key)


def _take(job: Job, key: str) -> Phase | None:
    found = job.tracker.find("pretext", Tag.PRETEXT_KEY, key, everywhere=True)
    if found is None:
        return None
    try:
        taken = _finished(job, "pretext", found)
    except TrackingError as error:
        log.warning("%s. Pre-training again.", error)
        return None
    log.info("Taking the pretext weights of run %s", found.info.run_id)
    return taken


def finished(job: Job) -> tuple[Phase | None, Phase] | None:
    """Both phases, where the downstream one need not be trained again.

    With ``resume=true`` any finished run of the same config will do; in a sweep one of its own,
    since two jobs come out the same when they differ only in what does not concern their arm.
    """
    parent = None if job.resume else job.sweep
    found = job.tracker.find("downstream", Tag.CONFIG_KEY, job.keys.config, parent)
    if found is None:
        return None
    pretext_run = found.data.tags.get(Tag.PRETEXT_RUN_ID)
    pretrained = None
    if pretext_run is not None:
        pretrained = _finished(job, "pretext", job.tracker.get(pretext_run))
    return pretrained, _finished(job, "downstream", found)


def _finished(job: Job, phase: str, run: Run) -> Phase:
    run_id, folder = run.info.run_id, _claim(job.folder / phase)
    weights = job.tracker.artifact(run_id, WEIGHTS, folder)
    path = job.tracker.artifact(run_id, HISTORY, folder)
    try:
        history = History(path)
    except ValueError as error:
        raise TrackingError(f"The artifact {HISTORY} of run {run_id} is damaged") from error
    return Phase(run_id, weights, [*history.rows.values()], reused=True)


def _pretrain(job: Job, key: str) -> Phase:
    data, angles = job.data, job.pretext.angles
    # All that can change a pretext's result is what its weights depend on.
    with _recorded(job, "pretext", {Tag.CONFIG_KEY: key, Tag.PRETEXT_KEY: key}) as recording:
        task = pretext_task(job, job.weights)

        def draw(folder: Path) -> None:
            inputs, targets = next(task.train.whole().epoch(1))
            path = folder / "turned_batch.png"
            figures.turned_batch(inputs, targets, angles, data.mean, data.std, path)

        return recording.train(task, draw)


def downstream(job: Job, pretrained: Phase | None) -> Phase:
    """Puts a new head on the backbone and trains on the labelled images."""
    tags = {Tag.CONFIG_KEY: job.keys.config, Tag.PAIR_KEY: job.keys.pair}
    if pretrained is not None:
        tags[Tag.PRETEXT_KEY] = str(job.keys.pretext)
        tags[Tag.PRETEXT_RUN_ID] = str(pretrained.run_id)
    with _recorded(job, "downstream", tags) as recording:
        # From the file also when it was trained just now: trained or taken, the bits are the same.
        task = downstream_task(job, job.weights if pretrained is None else pretrained.weights)

        def draw(folder: Path) -> None:
            guesses, truths = predict(task.model, task.evaluations["test"], job.compute)
            accuracy = float((guesses == truths).double().mean())
            title = f"{job.data.name}, {job.arm}, last epoch: {accuracy:.1%} of the test images"
            path = folder / "confusion_matrix.png"
            figures.confusion_matrix(guesses, truths, job.data.classes, title, path)

        return recording.train(task, draw)


@dataclass(frozen=True)
class _Recording:
    """A phase whose MLflow run is open."""

    job: Job
    phase: str
    name: str
    folder: Path
    run: RunLog
    resumed: bool

    def train(self, task: Task, draw: Callable[[Path], None]) -> Phase:
        """Trains, and leaves metrics, weights and figures in MLflow and in the run's folder."""
        compute = self.job.compute
        interrupts = Interrupts()
        checkpoints = Checkpoints(
            self.folder / "checkpoints", **self.job.config["checkpoint"], interrupts=interrupts
        )
        state = checkpoints.latest() if self.resumed else None
        if state is not None:  # whatever became of the rows on the disk
            for epoch, record in enumerate(state["history"], 1):
                self.run.history.add(epoch, record)
        trace = self.folder / "profile" if self.job.config["profile"] else None
        with (
            interrupts.installed(),
            interrupts.training(),
            compute.working(),
            profiled(trace, compute.device) as stepped,
        ):
            compute.group.tell(Order(self.job.config, self.phase, state))
            with compute.group.together():
                records = task.fit(
                    self.job,
                    log=self.run.epoch,
                    state=state,
                    save=checkpoints.save,
                    stepped=stepped,
                )
        weights = self.folder / WEIGHTS
        save_weights(task.model, weights)
        pictures = self.folder / "figures"
        figures.curves(records, self.name, pictures / "curves.png")
        draw(pictures)
        self.run.artifacts([weights, self.run.history.path])
        for folder in ("figures", "profile"):
            self.run.artifacts(sorted((self.folder / folder).glob("*")), folder)
        return Phase(self.run.run_id, weights, records)


def _claim(folder: Path) -> Path:
    """Makes a folder that no other run has, even where two were given the same output directory."""
    for number in count(2):
        try:
            folder.mkdir(parents=True)
            break
        except FileExistsError:
            folder = folder.with_name(f"{folder.name.partition('-')[0]}-{number}")
    return folder


@contextmanager
def _recorded(job: Job, phase: str, tags: dict[str, str]) -> Iterator[_Recording]:
    """Opens the MLflow run of a phase, or with ``resume=true`` the one that was interrupted."""
    key_tag = Tag.CONFIG_KEY
    unfinished = job.tracker.unfinished(phase, key_tag, tags[key_tag]) if job.resume else None
    if unfinished is None:
        folder = _claim(job.folder / phase)
    else:
        folder = Path(unfinished.data.tags[Tag.FOLDER])
        log.info("Going on with run %s in %s", unfinished.info.run_id, folder)
    budget = job.config["dataset"].get("labels_per_class")
    labels = f"-{budget or 'all'}labels" if phase == "downstream" else ""
    arm_or_phase = job.arm if phase == "downstream" else phase
    name = f"{arm_or_phase}-{job.data.name}{labels}-seed{job.seed}"
    with job.tracker.start(
        name,
        folder,
        {Tag.PHASE: phase, Tag.ARM: job.arm, **tags, **_versions()},
        job.params,
        prefix="pretext/" if phase == "pretext" else "",
        parent=job.sweep,
        unfinished=unfinished,
    ) as run:
        config = folder / "config.yaml"
        files.write(config, OmegaConf.to_yaml(OmegaConf.create(job.config)).encode())
        run.artifacts([config])
        yield _Recording(job, phase, name, folder, run, resumed=unfinished is not None)
    if job.config["checkpoint"]["keep"] is not None:  # nobody goes on with a finished run
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def summarise(job: Job, pretrained: Phase | None, downstream: Phase) -> None:
    """Prints what came out, what it cost, and where to look."""
    images = seconds = 0.0
    lines = []
    for name, phase in (("pretext", pretrained), ("downstream", downstream)):
        if phase is None:
            continue
        last = phase.history[-1]
        spent = sum(record["epoch_seconds"] for record in phase.history)
        images, seconds = images + last["images_processed"], seconds + spent
        lines.append(
            f"  {name:<11} test accuracy {last['test_acc']:.4f}  "
            f"{last['images_processed']:>11,.0f} images {spent:>8.1f} s"
            + (f"  (taken from run {phase.run_id})" if phase.reused else "")
        )
    lines.append(f"  {'total':<33}{images:>11,.0f} images {seconds:>8.1f} s")
    experiment = job.tracker.experiment_name
    where = downstream.run_id or "that MLflow has not been told of yet"
    look = f'mlflow ui, experiment "{experiment}", run {where}'
    lines += [f"  weights     {downstream.weights}", f"  record      {look}"]
    print("\n".join([f"\n{job.data.name}, {job.arm}, seed {job.seed}", *lines]), flush=True)


def _versions() -> dict[str, str]:
    # By itself MLflow takes the commit of whatever repository the started script lies in.
    commit = get_git_commit(ssl_rot.__file__) if CHECKOUT_CONF.is_dir() else None
    return {
        **({} if commit is None else {MLFLOW_GIT_COMMIT: commit}),
        "ssl_rot.version": ssl_rot.__version__,
        "version.python": platform.python_version(),
        "version.torch": torch.__version__,
        "version.torchvision": version("torchvision"),
        "version.mlflow": mlflow.__version__,
    }
