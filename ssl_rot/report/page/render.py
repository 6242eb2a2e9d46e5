"""Render: the page, its Markdown twin, the tables and the figures, into one folder."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from ssl_rot.report.comparison.cost import curves
from ssl_rot.report.comparison.published import against_published, published_table
from ssl_rot.report.comparison.settings import spoken
from ssl_rot.report.page.drawing import Drawing
from ssl_rot.report.page.figures import FIGURE_NAMES, draw_all
from ssl_rot.report.page.provenance import commands, versions
from ssl_rot.report.page.style import save, styled
from ssl_rot.report.page.table import Table
from ssl_rot.report.page.tables import (
    counted,
    headline,
    left_out_table,
    number_table,
    pair_table,
    verdict_table,
)

MOST_VERDICTS = 40
MOST_PAIRS = 500


@dataclass(frozen=True)
class _Placed:
    name: str
    title: str
    caption: str
    uri: str


def render(
    runs: pd.DataFrame,
    histories: pd.DataFrame,
    pairs: pd.DataFrame,
    cells: pd.DataFrame,
    out: Path,
    *,
    scope: str,
    own_command: str,
) -> Path:
    """Writes everything.

    Args:
        runs: from :func:`ssl_rot.report.load_runs`.
        histories: from :func:`ssl_rot.report.load_histories`.
        pairs: from :func:`ssl_rot.report.pair_runs`.
        cells: from :func:`ssl_rot.report.compare`.
        out: the folder; files of an earlier report in it are replaced.
        scope: which runs these are, in a sentence.
        own_command: that makes this report again.

    Returns:
        The page, ``report.html``. Beside it ``report.md``, ``runs.csv``, ``pairs.csv``,
        ``cells.csv``, and ``figures/`` with a PNG and an SVG of each.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name, frame in (("runs", runs), ("pairs", pairs), ("cells", cells)):
        frame.to_csv(out / f"{name}.csv", index=False)
    for old in (out / "figures").glob("*.*"):
        if FIGURE_NAMES.fullmatch(old.stem) and old.suffix in (".png", ".svg"):
            old.unlink()
    drawings = draw_all(cells, pairs, curves(histories)) if len(cells) > 0 else []
    placed = [_place(drawing, out / "figures") for drawing in drawings]
    nothing = Table([], [])
    verdicts = verdict_table(cells) if len(cells) > 0 else nothing
    left_out = left_out_table(pairs, cells)
    package = files("ssl_rot.report.page")
    context = {
        "metric": spoken(pairs["metric"].iloc[0]),
        "headline": headline(cells),
        "scope": scope,
        "verdicts": Table(verdicts.columns, verdicts.rows[:MOST_VERDICTS]),
        "verdicts_hidden": max(0, len(verdicts.rows) - MOST_VERDICTS),
        "drawings": placed,
        "numbers": number_table(cells) if len(cells) > 0 else nothing,
        "pairs": pair_table(pairs, cells, MOST_PAIRS) if len(cells) > 0 else nothing,
        "pairs_hidden": max(0, int((pairs["left_out"] == "").sum()) - MOST_PAIRS),
        "published": published_table(against_published(runs)),
        "left_out": Table(left_out.columns, left_out.rows[:MOST_PAIRS]),
        "left_out_hidden": max(0, len(left_out.rows) - MOST_PAIRS),
        "reasons": counted(row[-1].text for row in left_out.rows),
        "commands": commands(runs),
        "own_command": own_command,
        "versions": versions(runs),
        "style": Markup((package / "report.css").read_text()),
        "script": Markup((package / "report.js").read_text()),
    }
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["cell"] = _markdown
    for name in ("report.html", "report.md"):
        template = environment.from_string((package / f"{name}.j2").read_text())
        (out / name).write_text(template.render(context), encoding="utf-8")
    return out / "report.html"


def _place(drawing: Drawing, folder: Path) -> _Placed:
    with styled():
        _, svg = save(drawing.figure, folder, drawing.name)
    # As an image a figure has a scope of its own: its ids and styles meet no other's.
    encoded = base64.b64encode(svg.read_bytes()).decode()
    uri = f"data:image/svg+xml;base64,{encoded}"
    return _Placed(drawing.name, drawing.title, drawing.caption, uri)


def _markdown(text: str) -> Markup:
    """Text as text: neither HTML nor the end of a table's column."""
    return Markup(str(escape(text)).replace("|", "&#124;").replace("`", "&#96;"))
