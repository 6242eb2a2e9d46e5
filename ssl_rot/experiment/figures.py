"""The pictures a run keeps: what the network saw, how it learned, and what it confuses."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which colour-blind readers can tell apart; the lines differ in dash too.
_STYLES = {"train": ("#0072B2", "--"), "val": ("#009E73", "-."), "test": ("#D55E00", "-")}


def _new(**options: Any) -> Figure:
    # Imported here, since no run should wait for it before it has trained.
    logging.getLogger("matplotlib.font_manager").setLevel(logging.WARNING)  # of its first import
    from matplotlib.figure import Figure

    return Figure(**options)


def _save(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, bbox_inches="tight")
    return path


def rotated_batch(
    inputs: Tensor,
    targets: Tensor,
    angles: Sequence[int],
    mean: Sequence[float],
    std: Sequence[float],
    path: Path,
    columns: int = 8,
) -> Path:
    """A pretext batch as the network sees it: a row for each turn, the label before it.

    Args:
        inputs: float ``[B, C, S, S]``, normalised.
        targets: int64 ``[B]``, the index of the turn.
        angles: degrees, by index.
        mean: per channel, to undo the normalisation; of pixels in [0, 1].
        std: likewise.
    """
    shape = (1, -1, 1, 1)
    pixels = inputs.float().cpu() * torch.tensor(std).view(shape) + torch.tensor(mean).view(shape)
    figure = _new(figsize=(columns, len(angles) * 1.05))
    for row, angle in enumerate(angles):
        images = pixels[targets.cpu() == row][:columns].clamp(0, 1)
        for column, image in enumerate(images):
            axes = figure.add_subplot(len(angles), columns, row * columns + column + 1)
            axes.imshow(image.permute(1, 2, 0).numpy().squeeze(), cmap="gray", vmin=0, vmax=1)
            axes.set_xticks([])
            axes.set_yticks([])
            if column == 0:
                axes.set_ylabel(f"{row}: {angle}°", rotation=0, ha="right", va="center")
    return _save(figure, path)


def curves(history: Sequence[Mapping[str, float]], title: str, path: Path) -> Path:
    """Loss and accuracy by epoch, each split a line."""
    figure = _new(figsize=(9, 3.4), layout="constrained")
    epochs = range(1, len(history) + 1)
    for axes, quantity, label in zip(
        figure.subplots(1, 2), ("loss", "acc"), ("loss", "accuracy"), strict=True
    ):
        for split, (colour, dash) in _STYLES.items():
            name = f"{split}_{quantity}"
            if name in history[0]:
                values = [record[name] for record in history]
                marker = "o" if len(history) == 1 else ""  # a line of one point is invisible
                axes.plot(epochs, values, dash, color=colour, label=split, marker=marker)
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle(title)
    return _save(figure, path)


def confusion_matrix(
    guesses: Tensor, truths: Tensor, classes: Sequence[str], title: str, path: Path
) -> Path:
    """How often each true class (row) was taken for each class (column), in % of the row."""
    size = len(classes)
    counts = torch.bincount(truths * size + guesses, minlength=size * size).view(size, size).numpy()
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = min(4 + 0.25 * size, 14)
    figure = _new(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    step = max(1, size // 50)  # a thousand names would be a black bar
    ticks = range(0, size, step)
    axes.set_xticks(ticks, [classes[i] for i in ticks], rotation=90)
    axes.set_yticks(ticks, [classes[i] for i in ticks])
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(title)
    for row, column in zip(*np.nonzero(counts), strict=True) if size <= 20 else ():
        dark = share[row, column] > 0.5
        text = f"{100 * share[row, column]:.0f}"
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color="wk"[not dark])
    return _save(figure, path)
