"""A phase that is trained and recorded: metrics, weights and figures, on the disk and in MLflow."""

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
from mlflow.utils.git_utils import get_git_commit
from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT
from omegaconf import OmegaConf

import ssl_rot
from ssl_rot import figures, files
from ssl_rot.checkpoint import Checkpoints
from ssl_rot.confdir import CHECKOUT_CONF
from ssl_rot.followers import Order
from ssl_rot.interrupt import Interrupts
from ssl_rot.job import Job
from ssl_rot.models.weights import save_weights
from ssl_rot.profiling import profiled
from ssl_rot.tasks import Task
from ssl_rot.tracking import WEIGHTS, RunLog, Tag
from ssl_rot.train import Record

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


@dataclass(frozen=True)
class Recording:
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


@contextmanager
def recorded(job: Job, phase: str, tags: dict[str, str]) -> Iterator[Recording]:
    """Opens the MLflow run of a phase, or with ``resume=true`` the one that was interrupted."""
    key_tag = Tag.CONFIG_KEY
    unfinished = job.tracker.unfinished(phase, key_tag, tags[key_tag]) if job.resume else None
    if unfinished is None:
        folder = claim(job.folder / phase)
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
        yield Recording(job, phase, name, folder, run, resumed=unfinished is not None)
    if job.config["checkpoint"]["keep"] is not None:  # nobody goes on with a finished run
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def claim(folder: Path) -> Path:
    """Makes a folder that no other run has, even where two were given the same output directory."""
    for number in count(2):
        try:
            folder.mkdir(parents=True)
            break
        except FileExistsError:
            folder = folder.with_name(f"{folder.name.partition('-')[0]}-{number}")
    return folder


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
