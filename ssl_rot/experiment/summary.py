"""What a run prints at the end: accuracy, cost, and where the results are."""

from __future__ import annotations

from ssl_rot.experiment.context import RunContext
from ssl_rot.experiment.recording import PhaseResult


def print_summary(
    context: RunContext, pretrained: PhaseResult | None, downstream: PhaseResult
) -> None:
    """Prints the summary of a finished run."""
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
    run_id = downstream.run_id or "(not sent yet)"
    record = f'mlflow ui, experiment "{context.tracker.store.experiment_name}", run {run_id}'
    lines += [f"  weights     {downstream.weights}", f"  record      {record}"]
    head = f"\n{context.data.name}, {context.arm}, seed {context.seed}"
    print("\n".join([head, *lines]), flush=True)
