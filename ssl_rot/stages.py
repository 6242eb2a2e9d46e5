"""The stages of a run: pre-train or take finished weights, train downstream, sum up.

Both phases are recorded in the same way; they differ in the network, the batches and the task.
"""

from __future__ import annotations

import logging
from pathlib import Path

from mlflow.entities import Run

from ssl_rot import figures
from ssl_rot.errors import TrackingError
from ssl_rot.evaluate import predict
from ssl_rot.history import History
from ssl_rot.job import Job
from ssl_rot.recording import Phase, claim, recorded
from ssl_rot.tasks import downstream_task, pretext_task
from ssl_rot.tracking import HISTORY, WEIGHTS, Tag
from ssl_rot.train import Record

log = logging.getLogger(__name__)


def pretext(job: Job) -> Phase | None:
    """Pre-trains the backbone, or takes finished weights with the same key from MLflow.

    Of several processes that want the same weights at once one trains, and the others wait.
    """
    key = job.keys.pretext
    if key is None:
        return None
    if not job.pretext.reuse:
        return (_begun_from(job) if job.resume else None) or _pretrain(job, key)
    taken = _take(job, key)
    if taken is not None:
        return taken
    with job.tracker.lock(f"pretext-{key}", everywhere=True):
        return _take(job, key) or _pretrain(job, key)


def _begun_from(job: Job) -> Phase | None:
    """The pre-training that the interrupted downstream run began from: no older one is wanted."""
    begun = job.tracker.unfinished("downstream", Tag.CONFIG_KEY, job.keys.config)
    pretext_run = None if begun is None else begun.data.tags.get(Tag.PRETEXT_RUN_ID)
    return None if pretext_run is None else _weights_of(job, job.tracker.get(pretext_run))


def _take(job: Job, key: str) -> Phase | None:
    found = job.tracker.find("pretext", Tag.PRETEXT_KEY, key, everywhere=True)
    return None if found is None else _weights_of(job, found)


def _weights_of(job: Job, found: Run) -> Phase | None:
    try:
        taken = _finished(job, "pretext", found)
    except TrackingError as error:
        log.warning("%s. Pre-training again.", error)
        return None
    log.info("Taking the pretext weights of run %s", found.info.run_id)
    return taken


def finished(job: Job) -> Record | None:
    """The last epoch of the downstream phase, where it need not be trained again; tells of it.

    With ``resume=true`` any finished run of the same config will do; in a sweep one of its own,
    since two jobs come out the same when they differ only in what does not concern their arm.
    """
    parent = None if job.resume else job.sweep
    found = job.tracker.find("downstream", Tag.CONFIG_KEY, job.keys.config, parent)
    if found is None:
        return None
    pretext_run = found.data.tags.get(Tag.PRETEXT_RUN_ID)
    pretrained = None
    try:
        if pretext_run is not None:
            pretrained = _finished(job, "pretext", job.tracker.get(pretext_run))
        summarise(job, pretrained, _finished(job, "downstream", found))
    except TrackingError as error:  # somebody made room
        log.warning("%s. The run is finished all the same, and is not trained again.", error)
    return dict(found.data.metrics)


def _finished(job: Job, phase: str, run: Run) -> Phase:
    run_id, folder = run.info.run_id, claim(job.folder / phase)
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
    with recorded(job, "pretext", {Tag.CONFIG_KEY: key, Tag.PRETEXT_KEY: key}) as recording:
        task = pretext_task(job, job.weights)

        def draw(folder: Path) -> None:
            inputs, targets = next(task.train.whole().epoch(1))
            path = folder / "turned_batch.png"
            figures.turned_batch(inputs, targets, angles, data.mean, data.std, path)

        return recording.train(task, draw)


def downstream(job: Job, pretrained: Phase | None) -> Phase:
    """Puts a new head on the backbone and trains on the labelled images."""
    keys = job.keys
    tags = {
        Tag.CONFIG_KEY: keys.config,
        Tag.PAIR_KEY: keys.pair,
        Tag.CONTENT_KEY: keys.content,
    }
    if pretrained is not None:
        tags[Tag.PRETEXT_KEY] = str(keys.pretext)
        tags[Tag.PRETEXT_RUN_ID] = str(pretrained.run_id)
    with recorded(job, "downstream", tags) as recording:
        # From the file also when it was trained just now: trained or taken, the bits are the same.
        task = downstream_task(job, job.weights if pretrained is None else pretrained.weights)

        def draw(folder: Path) -> None:
            guesses, truths = predict(task.model, task.evaluations["test"], job.compute)
            accuracy = float((guesses == truths).double().mean())
            title = f"{job.data.name}, {job.arm}, last epoch: {accuracy:.1%} of the test images"
            path = folder / "confusion_matrix.png"
            figures.confusion_matrix(guesses, truths, job.data.classes, title, path)

        return recording.train(task, draw)


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
