"""``dry_run=true``: what a sweep would do, what that takes, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from omegaconf import DictConfig

from ssl_rot.experiment.context import open_tracker
from ssl_rot.sweep.composition import Composer
from ssl_rot.sweep.description import PlanDescription
from ssl_rot.sweep.estimate import estimate_costs
from ssl_rot.sweep.plan import Planner, make_plan
from ssl_rot.sweep.plugin_checks import is_basic, is_parallel
from ssl_rot.sweep.slots import open_slots
from ssl_rot.sweep.wording import describe_duration, shorten_number


def print_dry_run(
    config: DictConfig,
    jobs: Sequence[Sequence[str]] | None,
    *,
    is_sweep: bool,
) -> None:
    """Prints the plan with all jobs, and estimates its time and disk from a few steps.

    Args:
        jobs: the overrides of each; ``None`` if the sweeper chooses them as it goes.
        is_sweep: a launcher starts them; a single run has the whole machine.

    Raises:
        UserError: a job has a fault, data is missing, or MLflow does not answer.
    """
    if jobs is None:
        print("The sweeper chooses the jobs as it goes, so there is no plan to show.")
        return
    slots = open_slots(config) if is_sweep and is_parallel(config.hydra.launcher) else ()
    planner = Planner(
        Composer(config), open_tracker(config), Path(config.hydra.sweep.dir).absolute()
    )
    description = PlanDescription(make_plan(planner, jobs))
    print(f"{description.summarize()}\n\n{description.list_jobs()}\n", flush=True)
    if slots:
        torch.set_num_threads(slots[0].threads)  # what each job will have
    costs = estimate_costs(description)
    at_once = len(slots) or 1
    time = describe_duration(costs.seconds / min(at_once, max(1, len(description.to_train))))
    if slots:
        time += f" with {at_once} jobs at once"
    elif is_sweep and not is_basic(config.hydra.launcher):
        time += ", one job after the other,"
    print(
        f"Training and evaluation take about {time} by a few steps measured here;\n"
        f"the weights take {shorten_number(costs.disk)}B. dry_run=true: nothing was started."
    )
