"""Writes the report: the page, its Markdown version, the tables and the figures."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from ssl_rot.report.comparison.contrasts import name_contrasts, name_difference
from ssl_rot.report.comparison.curves import split_histories
from ssl_rot.report.comparison.metrics import display_name
from ssl_rot.report.comparison.published import against_published
from ssl_rot.report.page import cell_tables, run_tables
from ssl_rot.report.page.figures import FIGURE_NAMES, draw_figures
from ssl_rot.report.page.figures.report_figure import ReportFigure, report_style
from ssl_rot.report.page.provenance import count_commands, list_versions
from ssl_rot.report.page.table import EMPTY

MOST_VERDICTS = 40
MOST_PAIRS = 500


@dataclass(frozen=True)
class Report:
    """All that a page shows.

    Args:
        runs: from ``load_runs``, those that were not chosen included.
        headline: the answer in words, its first sentence first.
        tuning: whether the arms were tuned, in one line.
        trials: the settings that were tried; ``None`` if none were chosen.
        scope: one sentence that says which runs are compared.
        own_command: the command that produces this report.
    """

    runs: pd.DataFrame
    histories: pd.DataFrame
    pairs: pd.DataFrame
    cells: pd.DataFrame
    headline: list[str]
    tuning: str
    trials: pd.DataFrame | None
    recalls: pd.DataFrame
    scope: str
    own_command: str


def write_report(report: Report, out: Path) -> list[Path]:
    """Writes all files of the report to ``out``, where files of an earlier report are replaced.

    Returns:
        The files: the page, ``report.html``, then ``report.md``, ``runs.csv``, ``pairs.csv``,
        ``cells.csv``, ``trials.csv`` and ``classes.csv`` where there are any, and a PNG and an SVG
        of each figure in ``figures/``.
    """
    runs, pairs, cells = report.runs, report.pairs, report.cells
    out.mkdir(parents=True, exist_ok=True)
    written = [out / "report.html", out / "report.md"]
    frames = {"runs": runs, "pairs": pairs, "cells": cells}
    for name, optional in (("trials", report.trials), ("classes", report.recalls)):
        (out / f"{name}.csv").unlink(missing_ok=True)
        if optional is not None and len(optional) > 0:
            frames[name] = optional
    for name, frame in frames.items():
        written.append(out / f"{name}.csv")
        frame.to_csv(written[-1], index=False)
    for old in (out / "figures").glob("*.*"):
        if FIGURE_NAMES.fullmatch(old.stem) and old.suffix in (".png", ".svg"):
            old.unlink()
    figures = []
    if len(cells) > 0:
        figures = draw_figures(cells, pairs, split_histories(report.histories), report.trials)
    for figure in figures:
        written += [out / "figures" / f"{figure.name}.{kind}" for kind in ("png", "svg")]
    subject = name_contrasts(pairs)
    left_out = run_tables.left_out_table(pairs)
    package = files("ssl_rot.report.page")
    context = {
        "metric": display_name(pairs["metric"].iloc[0]),
        "subject": subject[0].upper() + subject[1:],
        "difference": name_difference(cells) if len(cells) > 0 else "",
        "headline": report.headline[0],
        "sentences": report.headline[1:],
        "tuning": report.tuning,
        "scope": report.scope,
        "trials": EMPTY if report.trials is None else run_tables.trial_table(report.trials),
        "recalls": run_tables.recall_table(report.recalls, MOST_PAIRS),
        "verdicts": cell_tables.verdict_table(cells).head(MOST_VERDICTS),
        "figures": [(figure, _save_as_uri(figure, out / "figures")) for figure in figures],
        "numbers": cell_tables.number_table(cells),
        "pairs": run_tables.pair_table(pairs, cells, MOST_PAIRS),
        "published": run_tables.published_table(against_published(runs)),
        "left_out": left_out.head(MOST_PAIRS),
        "remarks": run_tables.count_values(text for text in pairs["remark"] if text),
        "reasons": run_tables.count_values(row[-1].text for row in left_out.rows),
        "commands": count_commands(runs),
        "own_command": report.own_command,
        "versions": list_versions(runs),
        "style": Markup((package / "report.css").read_text()),
        "script": Markup((package / "report.js").read_text()),
    }
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["markdown"] = _escape_markdown
    for page in written[:2]:
        template = environment.from_string((package / f"{page.name}.j2").read_text())
        page.write_text(template.render(context), encoding="utf-8")
    return written


def _save_as_uri(figure: ReportFigure, folder: Path) -> str:
    """Saves a figure as PNG and SVG, and returns the SVG as a data URI.

    Embedded as an image, an SVG has its own scope: its ids and styles do not clash with others.
    """
    folder.mkdir(parents=True, exist_ok=True)
    svg = folder / f"{figure.name}.svg"
    with report_style():
        figure.figure.savefig(svg.with_suffix(".png"), dpi=150)
        figure.figure.set_layout_engine(None)  # as it is: it takes longer than drawing
        figure.figure.savefig(svg, dpi=150, metadata={"Date": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.read_bytes()).decode()}"


def _escape_markdown(text: str) -> Markup:
    """Escapes HTML and what would end a table's column or a code span."""
    return Markup(str(escape(text)).replace("|", "&#124;").replace("`", "&#96;"))
