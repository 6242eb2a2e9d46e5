"""How a run presents itself in MLflow: its name, its color, its description."""

from __future__ import annotations

import shlex
from colorsys import hls_to_rgb
from hashlib import sha256
from math import log10

from hydra.core.hydra_config import HydraConfig

from ssl_rot.config.command_line import starts_a_sweep
from ssl_rot.experiment.context import RunContext, typed_command

_HUES = {"supervised": 0.58, "rotation": 0.08}  # blue and orange, which all readers can tell apart
_IGNORED = ("tracking.parent_run_id", "resume", "seed")  # of a job's overrides


def name_run(context: RunContext, phase: str) -> str:
    """The arm, the data, the label budget and the seed, as far as the phase depends on them."""
    data = context.data.name
    if phase == "floor":
        return f"floor-{data}-{_budget(context)}-seed{context.seed}"
    if phase == "pretext":
        return f"pretext-{context.arm}-{data}-seed{context.pretext_seed}"
    return f"{context.arm}-{data}-{_budget(context)}-seed{context.seed}"


FLOOR_COLOR = "#8c8c8c"  # gray


def choose_color(arm: str, labels_per_class: float) -> str:
    """A hue for each arm, the lighter, the fewer labels; as ``#rrggbb``."""
    hue = _HUES.get(arm, int(sha256(arm.encode()).hexdigest()[:4], 16) / 0x10000)
    lightness = min(0.75, max(0.3, 0.72 - 0.12 * log10(labels_per_class)))
    return "#" + "".join(f"{round(255 * part):02x}" for part in hls_to_rgb(hue, lightness, 0.75))


def describe_run(context: RunContext, phase: str) -> str:
    """What the run is, and the command that makes it again; Markdown."""
    data = context.data
    labels = f"{data.count_labels()} labels of {data.name}"
    if phase == "pretext":
        what = f"Pre-training by **{context.arm}** on {len(data.pretext_images)} images of "
        what += f"{data.name}, without labels; seed {context.pretext_seed}."
    elif phase == "floor":
        what = f"What trivial methods reach on the pixels of {labels}; seed {context.seed}."
    else:
        start = {"supervised": "random weights"}.get(context.arm, f"weights of **{context.arm}**")
        what = f"A classifier trained from {start} on {labels}; seed {context.seed}."
    lines = [what, f"```\n{_command_again(context)}\n```"]
    if context.sweep is not None:
        lines.append(f"Job {HydraConfig.get().job.num} of a sweep, the run above this one.")
    return "\n\n".join(lines)


def _budget(context: RunContext) -> str:
    data = context.config["dataset"]
    if (fraction := data.get("label_fraction")) is not None:
        return f"{100 * fraction:g}%labels"
    per_class = data.get("labels_per_class")
    if per_class is None:
        return "all-labels"
    return "1label" if per_class == 1 else f"{per_class}labels"


def _command_again(context: RunContext) -> str:
    """The command of a single run, also for a job of a sweep."""
    if context.sweep is None:
        return typed_command()
    hydra = HydraConfig.get()
    folders = [
        item.path for item in hydra.runtime.config_sources if item.provider == "command-line"
    ]
    given = [item for item in hydra.overrides.task if not starts_a_sweep([item])]
    overrides = [item for item in given if item.partition("=")[0] not in _IGNORED]
    return shlex.join(
        [
            *("python", "-m", "ssl_rot.run"),
            *(word for folder in folders for word in ("--config-dir", folder)),
            *(*overrides, f"seed={context.seed}"),
        ]
    )
