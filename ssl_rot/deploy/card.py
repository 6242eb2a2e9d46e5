"""The model card of an exported folder: what the model is, how good, how it came about."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from ssl_rot.deploy.exported import BACKBONES, HEADS
from ssl_rot.deploy.layout import ONNX_FILE, PT2_FILE
from ssl_rot.deploy.trained import TrainedRun
from ssl_rot.tracking import Tag

UNKNOWN_LICENSE = "unknown"
"""The Hub's own word for it."""


@dataclass(frozen=True)
class Comparison:
    """What the report says of a run's cell.

    Args:
        table: in plain text; ``None`` if the run is in no cell.
        command: that gives the whole report.
    """

    table: str | None
    command: str


def write_card(
    trained: TrainedRun,
    config: dict[str, Any],
    written: Collection[str],
    comparison: Comparison,
    license_id: str,
) -> str:
    """The card in Markdown, with the header that the Hub reads.

    Args:
        config: of the folder's config.json.
        written: the names of the folder's files.
    """
    run, inputs = trained.run, trained.inputs
    params, tags = run.params, run.tags
    own = config["ssl_rot"]
    is_timm = own["backbone"]["builder"] == "ssl_rot.models.timm_model"
    arguments = config.get("model_args") or {"in_chans": len(inputs.mean)}
    has_license = license_id != UNKNOWN_LICENSE
    context = {
        "header": _header(trained, config, license_id),
        "title": _plain(tags.get("mlflow.runName", run.run_id)),
        "version": _plain(tags.get("ssl_rot.version", "")),
        "classes": inputs.classes,
        "arm_in_words": _describe_arm(params, tags),
        "facts": _facts(trained),
        "comparison": comparison.table,
        "report_command": comparison.command,
        "files": {
            "own": own["backbone"]["builder"] in BACKBONES and own["head"]["builder"] in HEADS,
            "timm": own["names"] == "timm",
            "timm_backbone": is_timm and own["cut"] is None,
            "pt2": PT2_FILE in written,
            "onnx": ONNX_FILE in written,
        },
        "architecture": config["architecture"],
        "timm_arguments": ", ".join(f"{key}={value!r}" for key, value in arguments.items()),
        "channels": len(inputs.mean),
        "size": inputs.image_size,
        "mean": ", ".join(f"{value:.4f}" for value in inputs.mean),
        "std": ", ".join(f"{value:.4f}" for value in inputs.std),
        "license_in_words": (
            f"{_code(license_id)}"
            if has_license
            else "None was chosen. `--license` of `python -m ssl_rot.export` writes one here."
        ),
    }
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    environment.filters |= {"json": json.dumps, "code": _code, "block": _block}
    template = files("ssl_rot.deploy").joinpath("card.md.j2").read_text(encoding="utf-8")
    return environment.from_string(template).render(context)


def _header(trained: TrainedRun, config: dict[str, Any], license_id: str) -> dict[str, Any]:
    """YAML, each value as JSON, which is YAML too."""
    accuracy = {"type": "accuracy", "value": round(trained.run.metrics["test_acc"], 4)}
    name = trained.run.tags.get("mlflow.runName", trained.run.run_id)
    result = {
        "task": {"type": "image-classification"},
        "dataset": {"name": _data_name(trained), "type": _data_name(trained), "split": "test"},
        "metrics": [accuracy],
    }
    return {
        "license": license_id,
        "library_name": "timm" if config["ssl_rot"]["names"] == "timm" else "pytorch",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "ssl_rot", trained.run.tags[Tag.ARM]],
        "model-index": [{"name": name, "results": [result]}],
    }


def _facts(trained: TrainedRun) -> list[tuple[str, str]]:
    """The rows of the card's table, already in Markdown; what a run did not record is left out."""
    run, config = trained.run, trained.config
    params, tags, metrics = run.params, run.tags, run.metrics
    data = config["dataset"]
    budget, part, root = (data.get(k) for k in ("labels_per_class", "label_fraction", "root"))
    per_class = "all" if budget is None else str(budget)
    facts = [
        ("data", _code(_data_name(trained)) + (f" {_code(Path(root).name)}" if root else "")),
        ("labels per class", per_class if part is None else f"{100 * part:g} % of each class"),
        *(("labels used", tags[tag]) for tag in (Tag.LABELS,) if tag in tags),
        ("arm", _code(tags[Tag.ARM])),
        ("seed", str(config["seed"])),
        ("test accuracy", f"{metrics['test_acc']:.4f}, of the last epoch, on the whole test split"),
        *(
            (name.replace("_", " "), f"{metrics[name]:.4f}")
            for name in ("val_acc",)
            if name in metrics
        ),
        ("network", f"{_code(params.get('model', '?'))}, head {_code(params.get('head', '?'))}"),
        ("frozen", _code(params.get("freeze", "?"))),
        ("epochs", str(config["schedule"]["epochs"])),
        ("command", _code(tags.get(Tag.SOURCE, ""))),
        ("commit", _code(tags.get("mlflow.source.git.commit", ""))),
        ("MLflow run", _code(run.run_id)),
        ("torch", _code(tags.get("version.torch", ""))),
    ]
    return [(name, value) for name, value in facts if value]


def _data_name(trained: TrainedRun) -> str:
    data = trained.config["dataset"]
    return str(data.get("name") or trained.run.params.get("dataset", "unknown"))


def _describe_arm(params: dict[str, str], tags: dict[str, str]) -> str:
    if tags[Tag.ARM] == "supervised":
        return "trained on labeled images alone"
    return f"pre-trained by the task {_code(tags[Tag.ARM])}, then trained on labeled images"


def _plain(text: str) -> str:
    """A text in one line without what Markdown or HTML would take for markup."""
    return re.sub(r"([\\`*_{}\[\]<>#|])", r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    """A code span, also in a table; empty for an empty text."""
    text = " ".join(str(text).split()).replace("|", "\\|")
    ticks = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{ticks}{pad}{text}{pad}{ticks}" if text else ""


def _block(text: str) -> str:
    """A fenced code block."""
    fence = "`" * max(3, max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    return f"{fence}\n{text.strip()}\n{fence}"
