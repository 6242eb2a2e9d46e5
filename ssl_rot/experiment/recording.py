"""Trains a phase and records it: metrics, weights and figures, on the disk and in MLflow."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from ssl_rot import files
from ssl_rot.errors import describe_error
from ssl_rot.experiment import figures
from ssl_rot.experiment.context import RunContext
from ssl_rot.experiment.data_used import list_data_used
from ssl_rot.experiment.follower import Assignment
from ssl_rot.experiment.inputs import Inputs
from ssl_rot.experiment.run_description import FLOOR_COLOR, choose_color, describe_run, name_run
from ssl_rot.models.weights import save_weights
from ssl_rot.tracking import INPUTS, PREDICTIONS, WEIGHTS, DatasetUse, RunLog, Tag, version_tags
from ssl_rot.training.checkpoint import Checkpoints
from ssl_rot.training.evaluation import Predictions
from ssl_rot.training.loop import fit
from ssl_rot.training.phase import EpochMetrics, Phase
from ssl_rot.training.profiling import profiled
from ssl_rot.training.signals import Interrupts

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PhaseResult:
    """A finished phase; ``run_id`` is ``None`` if MLflow has not answered since it began."""

    run_id: str | None
    weights: Path
    history: list[EpochMetrics]
    reused: bool = False


@dataclass(frozen=True)
class PhaseRecorder:
    """Records one phase in its MLflow run, which is open."""

    context: RunContext
    name: str
    folder: Path
    run: RunLog
    resumed: bool
    figures: dict[str, Callable[[Path], object]] = field(default_factory=dict)

    def train(self, phase: Phase) -> PhaseResult:
        """Trains, and leaves metrics, weights and curves in MLflow and in the run's folder."""
        config, compute = self.context.config, self.context.compute
        interrupts = Interrupts()
        checkpoints = Checkpoints(
            self.folder / "checkpoints", **config["checkpoint"], interrupts=interrupts
        )
        state = checkpoints.latest() if self.resumed else None
        if state is not None:  # the rows on the disk may be lost or damaged
            for epoch, metrics in enumerate(state["history"], 1):
                self.run.history.add(epoch, metrics)
        trace = self.folder / "profile" if config["profile"] else None
        with (
            interrupts.installed(),
            interrupts.training(),
            compute.compile_errors(),
            profiled(trace) as after_step,
        ):
            compute.group.send(Assignment(config, phase.name, state))
            with compute.group.training_phase():
                history = fit(
                    phase,
                    compute,
                    log=self.run.epoch,
                    state=state,
                    save=checkpoints.save,
                    after_step=after_step,
                )
        weights = self.folder / WEIGHTS
        save_weights(phase.model, weights)
        self.run.artifacts([weights, self.run.history.path])
        self.run.artifacts(sorted((self.folder / "profile").glob("*")), "profile")
        self.draw("curves.png", partial(figures.draw_curves, history, self.name))
        return PhaseResult(self.run.run_id, weights, history)

    def keep_inputs(self) -> None:
        """Leaves what the network expects, without which its weights are of no use elsewhere."""
        path = self.folder / INPUTS
        files.write(path, Inputs.of(self.context.data).to_json())
        self.run.artifacts([path])

    def keep_predictions(self, predictions: Predictions) -> None:
        """Leaves the predictions of the trained network, one row for each image."""
        path = self.folder / PREDICTIONS
        table = pd.DataFrame(
            {
                "index": np.arange(len(predictions.classes), dtype=np.int32),
                "target": predictions.targets.to(torch.int16).numpy(),
                "prediction": predictions.classes.to(torch.int16).numpy(),
                "probability": predictions.probabilities.numpy(),
            }
        )
        files.write(path, table.to_parquet(index=False))
        self.run.artifacts([path])

    def draw(self, name: str, draw: Callable[[Path], object]) -> None:
        """Keeps a figure to be drawn once the run has ended, if figures are wanted."""
        wanted = self.context.config["figures"]
        if wanted is True or (wanted == "auto" and self.context.sweep is None):
            self.figures[name] = draw

    def draw_figures(self) -> None:
        """Draws what was kept. An error is only a warning: the training that it shows is done."""
        drawn = []
        for name, draw in self.figures.items():
            path = self.folder / "figures" / name
            try:
                draw(path)
                drawn.append(path)
            except Exception as error:
                log.warning("%s could not be drawn: %s", path, describe_error(error))
                with suppress(OSError):
                    path.unlink()  # half of a file
        if drawn:
            self.run.artifacts(drawn, "figures")


@contextmanager
def record_phase(context: RunContext, phase: str, tags: dict[str, str]) -> Iterator[PhaseRecorder]:
    """Opens the MLflow run of a phase, or with ``resume=true`` the one that was interrupted.

    The ``tags`` are the keys that it can be found by, ``config_key`` among them.
    """
    config, tracker = context.config, context.tracker
    name = name_run(context, phase)
    tags |= {Tag.PHASE: phase, Tag.SOURCE: context.command, **version_tags()}
    shown, datasets = _describe(context, phase)
    tags |= shown
    if phase != "floor":  # which all arms have in common
        tags[Tag.ARM] = context.arm
    if context.sweep is not None:
        tags[Tag.JOB] = str(HydraConfig.get().job.num)
    if context.compute.device.type == "cpu":
        tags[Tag.THREADS] = str(torch.get_num_threads())
    with ExitStack() as stack:
        unfinished = None
        if context.resume:
            key = tags[Tag.CONFIG_KEY]
            unfinished = stack.enter_context(tracker.claim_resumable(phase, key))
        if unfinished is None:
            folder = claim_folder(context.folder / phase)
        else:
            folder = Path(unfinished.tags[Tag.FOLDER])
            log.info("Resuming run %s in %s", unfinished.run_id, folder)
        run = stack.enter_context(
            tracker.start(
                name,
                folder,
                tags,
                context.params,
                prefix="" if phase == "downstream" else f"{phase}/",
                parent=None if context.sweep is None else context.sweep.run_id,
                config=OmegaConf.to_yaml(OmegaConf.create(config)),
                datasets=datasets,
                system_metrics=config["system_metrics"],
                unfinished=unfinished,
            )
        )
        recorder = PhaseRecorder(context, name, folder, run, resumed=unfinished is not None)
        yield recorder
    # Whoever waits for this run does not wait for its figures.
    recorder.draw_figures()
    if config["checkpoint"]["keep"] is not None:  # nobody resumes a finished run
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def claim_folder(folder: Path) -> Path:
    """Makes a folder that no other run has, even if two have the same output directory."""
    for number in count(2):
        try:
            folder.mkdir(parents=True)
            break
        except FileExistsError:
            folder = folder.with_name(f"{folder.name.partition('-')[0]}-{number}")
    return folder


def _describe(context: RunContext, phase: str) -> tuple[dict[str, str], list[DatasetUse]]:
    """What MLflow's UI shows of the run beside its results; nothing fails for the lack of it."""
    data = context.data
    try:
        tags = {Tag.NOTE: describe_run(context, phase)}
        per_class = len(data.train) / len(data.classes)
        tags[Tag.COLOR] = FLOOR_COLOR if phase == "floor" else choose_color(context.arm, per_class)
        return tags, list_data_used(context, phase)
    except Exception as error:
        log.warning("The run is not described in MLflow: %s", describe_error(error))
        return {}, []
