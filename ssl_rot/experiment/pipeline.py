"""The pipeline of a run: pretext → transfer → downstream.

Both phases are recorded in the same way; they differ in the network, the batches and the targets.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from ssl_rot.errors import TrackingError, WeightsError
from ssl_rot.experiment import figures
from ssl_rot.experiment.context import RunContext
from ssl_rot.experiment.phases import downstream_phase, pretext_phase
from ssl_rot.experiment.recording import PhaseResult, claim_folder, record_phase
from ssl_rot.models.weights import read_weights
from ssl_rot.pretext import Pretext
from ssl_rot.tracking import HISTORY, WEIGHTS, History, StoredRun, Tag, Tracker
from ssl_rot.training.evaluation import predict

log = logging.getLogger(__name__)


def find_finished_run(context: RunContext) -> StoredRun | None:
    """The latest finished downstream run of the config, whatever ``precision=auto`` came to there.

    With ``resume=true`` any run of the experiment counts. Otherwise only one of the same sweep
    does: jobs that differ only in what their arm ignores have the same result.
    """
    sweep = None if context.config["resume"] else context.sweep
    parent = None if sweep is None else sweep.run_id
    for tag, key in (
        (Tag.CONFIG_KEY, context.keys.config),
        (Tag.REQUEST_KEY, context.request_key),
    ):
        found = context.tracker.runs.find("downstream", tag, key, parent)
        if found is not None:
            return found
    return None


def summarize_finished(context: RunContext, found: StoredRun) -> None:
    """Prints the summary of a downstream run that is finished already."""
    pretext_run_id = found.tags.get(Tag.PRETEXT_RUN_ID)
    pretrained = None
    try:
        if pretext_run_id is not None:
            pretrained = _download(context, "pretext", context.tracker.runs.get(pretext_run_id))
        print_summary(context, pretrained, _download(context, "downstream", found))
    except TrackingError as error:  # its artifacts were deleted
        log.warning("%s. The run is finished all the same and is not trained again.", error)


def find_finished_runs(tracker: Tracker) -> dict[str, StoredRun]:
    """What :func:`find_finished_run` finds with ``resume=true``, for all configs, by their keys."""
    runs = tracker.runs.finished("downstream")  # the latest first
    return {
        run.tags[tag]: run
        for tag in (Tag.REQUEST_KEY, Tag.CONFIG_KEY)
        for run in reversed(runs)
        if tag in run.tags
    }


def run_pretext(context: RunContext) -> PhaseResult | None:
    """Pre-trains the backbone, or takes finished weights with the same key from MLflow.

    Of several processes that want the same weights at once, one trains and the others wait.
    """
    key = context.keys.pretext
    if key is None or context.given_weights is not None:
        return None
    if not context.pretext.reuse:
        started_from = _find_interrupted_pretext(context) if context.resume else None
        return started_from or _pretrain(context, key)
    reused = _find_pretrained(context, key)
    if reused is not None:
        return reused
    with context.tracker.store.lock(f"pretext-{key}", everywhere=True):
        return _find_pretrained(context, key) or _pretrain(context, key)


def _find_interrupted_pretext(context: RunContext) -> PhaseResult | None:
    """The pre-training that the interrupted downstream run started from: it needs the same one."""
    interrupted = context.tracker.resumable("downstream", context.keys.config)
    run_id = None if interrupted is None else interrupted.tags.get(Tag.PRETEXT_RUN_ID)
    return None if run_id is None else _reuse(context, context.tracker.runs.get(run_id))


def _find_pretrained(context: RunContext, key: str) -> PhaseResult | None:
    found = context.tracker.runs.find("pretext", Tag.PRETEXT_KEY, key, everywhere=True)
    return None if found is None else _reuse(context, found)


def _reuse(context: RunContext, found: StoredRun) -> PhaseResult | None:
    try:
        reused = _download(context, "pretext", found)
        read_weights(reused.weights)
    except (TrackingError, WeightsError) as error:
        log.warning(
            "The pretext of run %s is missing or damaged, so it is trained again: %s",
            found.run_id,
            error,
        )
        return None
    log.info("Reusing the pretext weights of run %s", found.run_id)
    return reused


def _download(context: RunContext, phase: str, found: StoredRun) -> PhaseResult:
    folder = claim_folder(context.folder / phase)
    weights = context.tracker.runs.artifact(found.run_id, WEIGHTS, folder)
    path = context.tracker.runs.artifact(found.run_id, HISTORY, folder)
    try:
        rows = [*History(path).rows.values()]
    except ValueError:
        rows = []
    if not rows:
        raise TrackingError(f"The artifact {HISTORY} of run {found.run_id} is damaged")
    return PhaseResult(found.run_id, weights, rows, reused=True)


def _pretrain(context: RunContext, key: str) -> PhaseResult:
    data, pretext = context.data, context.pretext
    assert isinstance(pretext, Pretext)
    # For a pretext phase, what can change the result is what can change the weights.
    with record_phase(context, "pretext", {Tag.CONFIG_KEY: key, Tag.PRETEXT_KEY: key}) as recorder:
        phase = pretext_phase(context, context.initial_weights)

        def draw(path: Path) -> None:
            rows = pretext.figure(*next(phase.train.whole().epoch(1)))
            figures.draw_pretext_batch(rows, data.mean, data.std, path)

        result = recorder.train(phase)
        recorder.draw("pretext_batch.png", draw)
        return result


def run_downstream(context: RunContext, pretrained: PhaseResult | None) -> PhaseResult:
    """Puts a new head on the backbone and trains on the labelled images."""
    keys = context.keys
    tags = {
        Tag.CONFIG_KEY: keys.config,
        Tag.REQUEST_KEY: context.request_key,
        Tag.PAIR_KEY: keys.pair,
        Tag.CONTENT_KEY: keys.content,
        Tag.FLOOR_KEY: keys.floor,
        Tag.LABELS: context.data.count_labels(),
    }
    if keys.pretext is not None:
        tags[Tag.PRETEXT_KEY] = keys.pretext
    if pretrained is not None:
        tags[Tag.PRETEXT_RUN_ID] = str(pretrained.run_id)
    with record_phase(context, "downstream", tags) as recorder:
        # From the file even right after pre-training: fresh or reused, the bits are the same.
        weights = context.given_weights or context.initial_weights
        if pretrained is not None:
            weights = pretrained.weights
        phase = downstream_phase(context, weights)
        recorder.keep_inputs()
        result = recorder.train(phase)
        predictions = predict(phase.model, phase.evaluations["test"], context.compute)
        recorder.keep_predictions(predictions)

        def draw(path: Path) -> None:
            data, (classes, targets, _) = context.data, predictions
            accuracy = f"{predictions.accuracy:.1%}"
            title = f"{data.name}, {context.arm}, last epoch: test accuracy {accuracy}"
            figures.draw_confusion_matrix(classes, targets, data.classes, title, path)

        recorder.draw("confusion_matrix.png", draw)
        return result


def print_summary(
    context: RunContext,
    pretrained: PhaseResult | None,
    downstream: PhaseResult,
    floors: Mapping[str, float] | None = None,
) -> None:
    """Prints the accuracy and cost of a finished run, and where its results are."""
    images = seconds = 0.0
    lines = []
    for name, result in (("pretext", pretrained), ("downstream", downstream)):
        if result is None:
            continue
        last = result.history[-1]
        spent = sum(metrics["epoch_seconds"] for metrics in result.history)
        images, seconds = images + last["images_processed"], seconds + spent
        lines.append(
            f"  {name:<11} test accuracy {last['test_acc']:.4f}  "
            f"{last['images_processed']:>11,.0f} images {spent:>8.1f} s"
            + (f"  (reused from run {result.run_id})" if result.reused else "")
        )
    lines.append(f"  {'total':<33}{images:>11,.0f} images {seconds:>8.1f} s")
    if floors is not None:
        nearest, linear = (f"{floors[name]:.4f}" for name in ("knn_acc", "linear_acc"))
        lines.append(f"  on pixels   nearest neighbor {nearest}, logistic regression {linear}")
    run_id = downstream.run_id or "(not sent yet)"
    record = f'mlflow ui, experiment "{context.tracker.store.experiment_name}", run {run_id}'
    lines += [f"  weights     {downstream.weights}", f"  record      {record}"]
    if downstream.run_id is not None:
        lines.append(f"              {context.tracker.store.page(downstream.run_id)}")
    head = f"\n{context.data.name}, {context.arm}, seed {context.seed}"
    print("\n".join([head, *lines]), flush=True)
