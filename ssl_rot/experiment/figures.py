"""The figures of a run: what the network saw, how it learned, and what it confuses.

Each function writes a PNG file and returns its path.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colors, which color-blind readers can tell apart; the lines differ in dash too.
_STYLES = {"train": ("#0072B2", "--"), "val": ("#009E73", "-."), "test": ("#D55E00", "-")}


@contextmanager
def _saved_figure(path: Path, **options: Any) -> Iterator[Figure]:
    """A new figure, saved at the end of the block."""
    # Imported here, since no run should wait for it before it has trained.
    logging.getLogger("matplotlib.font_manager").setLevel(logging.WARNING)  # of its first import
    import matplotlib
    from matplotlib.figure import Figure

    # Text comes from users: a class named $5_$10 is not math. It holds until the figure is saved,
    # since matplotlib creates ticks as late as that.
    with matplotlib.rc_context({"text.parse_math": False}):
        figure = Figure(**options)
        yield figure
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=120, bbox_inches="tight")


def draw_pretext_batch(
    rows: Mapping[str, Tensor], mean: Sequence[float], std: Sequence[float], path: Path
) -> Path:
    """A pretext batch as the network sees it, in the rows that the task arranges it in.

    Args:
        rows: images by title, float ``[B, C, H, W]``, normalized; the first eight are drawn. Three
            or more channels are drawn in color, by the first three; one or two in gray, by the
            first.
        mean: of each channel, of pixels in [0, 1]; undoes the normalization, as does ``std``.
    """
    columns = 8
    scale, shift = (torch.tensor(values).view(1, -1, 1, 1) for values in (std, mean))
    with _saved_figure(path, figsize=(columns, len(rows) * 1.05)) as figure:
        for row, (title, images) in enumerate(rows.items()):
            pixels = images[:columns].float().cpu() * scale + shift
            pixels = pixels[:, : 3 if pixels.shape[1] >= 3 else 1].clamp(0, 1)
            for column, image in enumerate(pixels):
                axes = figure.add_subplot(len(rows), columns, row * columns + column + 1)
                axes.imshow(image.permute(1, 2, 0).numpy(), cmap="gray", vmin=0, vmax=1)
                axes.set(xticks=[], yticks=[])
                if column == 0:
                    axes.set_ylabel(title, rotation=0, ha="right", va="center")
    return path


def draw_curves(history: Sequence[Mapping[str, float]], title: str, path: Path) -> Path:
    """Loss and accuracy per epoch, one line per split."""
    epochs = range(1, len(history) + 1)
    with _saved_figure(path, figsize=(9, 3.4), layout="constrained") as figure:
        loss, accuracy = figure.subplots(1, 2)
        for axes, quantity, label in ((loss, "loss", "loss"), (accuracy, "acc", "accuracy")):
            for split, (color, dash) in _STYLES.items():
                name = f"{split}_{quantity}"
                if name in history[0]:
                    values = [metrics[name] for metrics in history]
                    marker = "o" if len(history) == 1 else ""  # a line of one point is invisible
                    axes.plot(epochs, values, dash, color=color, label=split, marker=marker)
            axes.set(xlabel="epoch", ylabel=label)
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.grid(alpha=0.3)
            axes.legend()
        figure.suptitle(title)
    return path


def draw_confusion_matrix(
    predictions: Tensor, targets: Tensor, classes: Sequence[str], title: str, path: Path
) -> Path:
    """How often each true class (row) was predicted as each class (column), in % of the row.

    Args:
        predictions: int64 ``[N]``, the index of the predicted class.
        targets: int64 ``[N]``, the index of the true class.
        classes: their names, by index.
    """
    size = len(classes)
    pairs = torch.bincount(targets * size + predictions, minlength=size * size)
    counts = pairs.view(size, size).numpy()
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = min(4 + 0.25 * size, 14)
    with _saved_figure(path, figsize=(side, side), layout="constrained") as figure:
        axes = figure.subplots()
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        ticks = range(0, size, max(1, size // 50))  # a thousand names would be a black bar
        # A folder whose name is not UTF-8 has a character that no font can draw.
        names = [os.fsencode(classes[i]).decode(errors="replace") for i in ticks]
        axes.set_xticks(ticks, names, rotation=90)
        axes.set_yticks(ticks, names)
        axes.set(xlabel="predicted", ylabel="true", title=title)
        for row, column in zip(*np.nonzero(counts), strict=True) if size <= 20 else ():
            color = "w" if share[row, column] > 0.5 else "k"
            text = f"{100 * share[row, column]:.0f}"
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=color)
    return path
