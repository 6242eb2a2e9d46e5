"""The page, its Markdown version, and the figures."""

from __future__ import annotations

import html
import re
from pathlib import Path
from unittest.mock import patch
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from ssl_rot.report import compare, pair_runs
from ssl_rot.report.analysis import Question, answer
from ssl_rot.report.comparison.curves import split_histories
from ssl_rot.report.comparison.floors import add_floors
from ssl_rot.report.page.cell_tables import number_table
from ssl_rot.report.page.figures import draw_figures, forest, learning_curves
from ssl_rot.report.page.figures.report_figure import VERDICT_STYLES, arm_styles
from ssl_rot.report.page.rendering import write_report
from ssl_rot.report.page.run_tables import pair_table

EVIL = "<img src=x onerror=alert(1)> | `$x_1$`"


def write(runs, out: Path, frame: pd.DataFrame | None = None) -> Path:
    frame = runs.frame() if frame is None else frame
    histories = runs.histories()
    # The histories are those of the made runs: nothing is read from a store.
    with patch("ssl_rot.report.analysis.load_histories", lambda *_: histories):
        report = answer(frame, Question(), "Test", "python -m report")
    page, *others = write_report(report, out)
    assert page == out / "report.html"
    assert all(path.is_file() for path in others)
    return page


def draw(runs) -> dict[str, Figure]:
    histories = runs.histories()
    pairs = pair_runs(runs.frame(), histories)
    return {
        d.name: d.figure for d in draw_figures(compare(pairs), pairs, split_histories(histories))
    }


@pytest.fixture
def sweep(runs):
    return make_sweep(runs)


@pytest.fixture(scope="module")
def page(new_runs, tmp_path_factory) -> Path:
    """The page of the sweep, made once for all tests that only read it."""
    return write(make_sweep(new_runs()), tmp_path_factory.mktemp("page"))


def make_sweep(runs):
    for labels, gain in (("1", 0.1), ("5", 0.05), ("null", 0.0)):
        rng = np.random.default_rng(len(labels))
        runs.arms(list(gain + rng.normal(0, 0.01, 3)), dataset__labels_per_class=labels)
    return runs


def test_every_figure_is_on_the_page_and_in_its_own_files(page: Path) -> None:
    text = page.read_text()
    names = {"labels", "curves-1", "curves-2", "curves-3", "pretext", "cost"}
    assert {path.stem for path in (page.parent / "figures").iterdir()} == names
    for name in names:
        assert f'id="figure-{name}"' in text
        assert (page.parent / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        ElementTree.parse(page.parent / "figures" / f"{name}.svg")
    assert text.count('src="data:image/svg+xml;base64,') == len(names)
    markdown = (page.parent / "report.md").read_text()
    for link in re.findall(r"\]\((figures/[^)]+)\)", markdown):
        assert (page.parent / link).exists()
    assert markdown.count("](figures/") == len(names)


def test_the_page_loads_nothing_from_elsewhere(page: Path) -> None:
    text = page.read_text()
    assert "default-src 'none'" in text
    assert not re.search(r"""(?:src|href)=["'](?!data:)""", text)
    assert "url(" not in text
    assert "@import" not in text


def test_the_verdict_comes_first(page: Path) -> None:
    text = page.read_text()
    order = [text.index(mark) for mark in ("<h1>", 'id="verdicts"', "<figure", 'id="cells"')]
    assert order == sorted(order)


def test_markup_in_names_is_escaped(runs, tmp_path: Path) -> None:
    runs.arms([0.1, 0.2], model=EVIL)
    runs.downstream("rotation", 8, 0.5, name=EVIL, model=EVIL)
    runs.downstream("supervised", 1, 0.5, name=EVIL, dataset__labels_per_class=EVIL)
    runs.downstream("rotation", 1, 0.5, name=EVIL, dataset__labels_per_class=EVIL)
    frame = runs.frame()
    frame["tags.ssl_rot.command"] = f"python -m ssl_rot.run model={EVIL}"
    text = write(runs, tmp_path, frame).read_text()
    assert "<img src=x" not in text
    assert text.count("&lt;img src=x onerror=alert(1)&gt;") >= 4
    markdown = (tmp_path / "report.md").read_text()
    assert "<img" not in markdown
    blocks = re.findall(r"(?:^\|.*\n)+", markdown, flags=re.MULTILINE)
    assert len(blocks) == 3
    for block in blocks:  # no name adds a column
        assert len({line.count("|") for line in block.splitlines()}) == 1


def test_the_pairs_are_sorted_by_the_number_of_their_cell(runs) -> None:
    runs.arms([0.1, 0.12], dataset__labels_per_class="20")
    runs.arms([0.3, 0.32], dataset__labels_per_class="1")
    pairs = pair_runs(runs.frame())
    rows = pair_table(pairs, compare(pairs), most=3).rows
    assert [row[0].text for row in rows] == ["1", "1", "2"]
    assert [row[6].text for row in rows] == ["+30.00", "+32.00", "+10.00"]


def test_arms_trained_with_different_threads_carry_a_remark(runs, tmp_path: Path) -> None:
    runs.arms([0.1, 0.12, 0.11])
    frame = runs.frame()
    frame["tags.ssl_rot.threads"] = ["2"] * 6 + [None] + ["2", "1"]  # rows of three: see arms()
    frame.loc[3:5, "tags.ssl_rot.threads"] = None  # runs of an earlier version do not record it
    pairs = pair_runs(frame)
    remark = "the arms were trained with different numbers of threads"
    assert list(pairs["remark"]) == ["", "", remark]
    rows = pair_table(pairs, compare(pairs), most=3).rows
    assert [(row[-2].text, row[-1].text) for row in rows] == [
        *(("2 / 2", ""), ("", ""), ("2 / 1", remark)),
    ]
    assert f"In 1 pair, {remark}." in write(runs, tmp_path, frame).read_text()
    assert f"In 1 pair, {remark}." in (tmp_path / "report.md").read_text()


def test_commands_and_versions_are_listed(sweep, tmp_path: Path) -> None:
    frame = sweep.frame()
    parent = {"run_id": "p" * 32, "tags.ssl_rot.phase": "sweep", "run_name": "sweep"}
    parent["tags.ssl_rot.command"] = "/home/me/ssl_rot/run.py --multirun seed=0,1 'a.b=[1, 2]'"
    downstream = frame["tags.ssl_rot.phase"] == "downstream"
    frame.loc[downstream, "tags.mlflow.parentRunId"] = parent["run_id"]
    frame["tags.version.torch"] = ["2.14.1"] * (len(frame) - 1) + ["2.13.0"]
    frame["tags.mlflow.source.git.commit"] = "0123abcd"
    frame = pd.concat([frame, pd.DataFrame([parent])], ignore_index=True)
    text = html.unescape(write(sweep, tmp_path, frame).read_text())
    assert "<code>python -m ssl_rot.run --multirun seed=0,1 'a.b=[1, 2]'</code>" in text
    assert f"{downstream.sum()} runs</span>" in text
    assert f"2.14.1 ({len(frame) - 2} runs), 2.13.0 (1 run)" in text
    assert "0123abcd" in text
    assert "python -m report" in text


def test_an_earlier_reports_files_are_replaced(sweep, runs, tmp_path: Path) -> None:
    write(sweep, tmp_path)
    del sweep.made[9:]
    write(sweep, tmp_path)
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {
        *("forest", "curves-1", "pretext", "cost"),
    }


def test_the_same_report_gives_the_same_file(page: Path, sweep, tmp_path: Path) -> None:
    assert write(sweep, tmp_path).read_bytes() == page.read_bytes()


def test_styles_differ_without_color() -> None:
    arms = pd.DataFrame({"reference": "supervised", "arm": ["rotation", "simclr", "a", "b", "c"]})
    styles = arm_styles(arms).values()
    assert len({(style.line, style.marker) for style in styles}) == len(styles) == 6
    assert len({style.color for style in styles}) == 6
    assert len({style.marker for style in VERDICT_STYLES.values()}) == len(VERDICT_STYLES)


def test_matplotlibs_settings_stay_as_they_were(sweep) -> None:
    before = dict(mpl.rcParams)
    draw(sweep)
    assert dict(mpl.rcParams) == before


def test_curves_show_mean_and_band_of_both_arms(sweep) -> None:
    figure = draw(sweep)["curves-1"]
    test_acc = figure.axes[1]
    lines = {line.get_label(): line for line in test_acc.get_lines()}
    assert set(lines) == {"rotation", "supervised-only"}
    np.testing.assert_allclose(
        lines["supervised-only"].get_ydata(), 100 * 0.5 * np.arange(1, 11) / 10
    )
    assert len(test_acc.collections) == 2  # a band for each arm
    pairs = pair_runs(sweep.frame()).query("`params.dataset.labels_per_class` == '1'")
    last = 100 * pairs["arm_value"]
    band = test_acc.collections[1].get_paths()[0].vertices
    at_end = band[np.isclose(band[:, 0], 10), 1]
    half = 4.302652729911275 * last.std() / np.sqrt(3)  # t, 2 degrees of freedom
    np.testing.assert_allclose(
        [at_end.min(), at_end.max()], [last.mean() - half, last.mean() + half]
    )


def test_forest_shows_every_cell_with_its_interval_and_its_seeds(runs) -> None:
    for lr in ("0.1", "0.2", "0.3"):
        runs.arms([0.1, 0.12, 0.11], schedule__lr=lr)
    figure = draw(runs)["forest"]
    (axes,) = figure.axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert [label.split()[0] for label in labels] == ["lr=0.1", "lr=0.2", "lr=0.3"]
    cells = compare(pair_runs(runs.frame()))
    spans = [line.get_xdata() for line in axes.get_lines() if len(line.get_xdata()) == 2][1:]
    np.testing.assert_allclose(spans, 100 * cells[["low", "high"]].to_numpy())
    for dots in axes.collections:
        np.testing.assert_allclose(np.sort(dots.get_offsets()[:, 0]), [10, 11, 12])
    assert len(axes.collections) == 3
    (band,) = axes.patches
    assert (band.get_x(), band.get_width()) == (-1, 2)  # the margin of one point


def test_a_cell_is_not_drawn_in_two_figures_that_say_the_same(sweep, runs) -> None:
    assert "forest" not in draw(sweep)  # the label figure has every cell
    for labels in ("1", "5"):
        runs.arms([0.1, 0.12], dataset__labels_per_class=labels)
    runs.arms([0.1, 0.12], dataset__labels_per_class="1", freeze="backbone", freeze___target_="F")
    assert {"forest", "labels"} <= set(draw(runs))  # one cell is in no panel with another


def test_the_label_figure_shows_seeds_floors_and_the_margin(runs) -> None:
    for labels in ("1", "5"):
        runs.arms([0.1, 0.12, 0.11], base=0.4, dataset__labels_per_class=labels)
    pairs = pair_runs(runs.frame())
    cells = compare(pairs).assign(floor_knn=[0.64, 0.86], floor_linear=[np.nan, 0.8])
    figures = {figure.name: figure.figure for figure in draw_figures(cells, pairs, {})}
    upper, lower = figures["labels"].axes
    lines = {line.get_label(): line.get_ydata() for line in upper.get_lines()}
    np.testing.assert_allclose(lines["1-NN on the pixels"], [64, 86])
    np.testing.assert_allclose(lines["a linear model of the pixels"], [80])
    of_seeds = [c for c in upper.collections if type(c).__name__ == "PathCollection"]
    heights = sorted(tuple(np.round(np.sort(c.get_offsets()[:, 1]))) for c in of_seeds)
    assert heights == 2 * [(40, 40, 40)] + 2 * [(50, 51, 52)]
    of_seeds = [c for c in lower.collections if type(c).__name__ == "PathCollection"]
    np.testing.assert_allclose(np.sort(of_seeds[0].get_offsets()[:, 1]), [10, 11, 12])
    assert (lower.patches[0].get_y(), lower.patches[0].get_height()) == (-1, 2)


def test_several_arms_have_places_and_colors_of_their_own(runs) -> None:
    for labels in ("1", "5"):
        for arm, gain in (("rotation", 0.1), ("simclr", 0.05)):
            for seed in range(3):
                runs.downstream("supervised", seed, 0.4, dataset__labels_per_class=labels)
                made = runs.downstream(
                    arm, seed, 0.4 + gain + 0.01 * seed, dataset__labels_per_class=labels
                )
                made.params["pretext"] = arm
    upper, lower = draw(runs)["labels"].axes
    places = {
        (line.get_color(), round(float(line.get_xdata()[0]), 3))
        for line in lower.get_lines()
        if line.get_marker() in "os^Dx"
    }
    assert len({color for color, _ in places}) == 2
    assert len({place for _, place in places}) == 4
    assert set(upper.get_legend_handles_labels()[1]) == {"supervised-only", "rotation", "simclr"}


def test_a_huge_interval_does_not_flatten_the_others(runs) -> None:
    runs.arms([0.10, 0.11, 0.12, 0.10])
    runs.arms([0.3, 0.1], schedule__lr="1")  # half-width of 127 points
    (axes,) = draw(runs)["forest"].axes
    assert axes.get_xlim()[1] < 80


def test_label_budgets_are_in_order_and_all_comes_last(sweep) -> None:
    axes = draw(sweep)["labels"].axes[1]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "5", "all"]


def test_differences_have_an_axis_of_their_own(runs) -> None:
    for labels, gain in (("1", 0.004), ("5", -0.002)):
        runs.arms([gain - 0.0005, gain, gain + 0.0005], dataset__labels_per_class=labels)
    axes = draw(runs)["labels"].axes[1]
    shown = [line.get_ydata().item() for line in axes.get_lines() if line.get_marker() == "^"]
    np.testing.assert_allclose(shown, [0.4, -0.2])
    low, high = axes.get_ylim()
    assert high - low < 2


def test_every_panel_has_tick_labels(runs) -> None:
    for lr in ("0.1", "0.2", "0.3", "0.4"):
        for labels in ("1", "5"):
            runs.arms([0.1, 0.12], dataset__labels_per_class=labels, schedule__lr=lr)
    visible = [axes for axes in draw(runs)["labels"].axes if axes.get_visible()]
    ticks = [[tick.get_text() for tick in axes.get_xticklabels()] for axes in visible]
    assert ticks.count(["1", "5"]) == 4
    assert sum(bool(axes.get_title(loc="left")) for axes in visible) == 4


def test_a_setting_that_only_some_cells_have_hides_none_of_the_others(runs) -> None:
    """Of the options of `freeze`, only `through` has a stage."""
    for labels in ("1", "5"):
        runs.arms([0.1, 0.12], dataset__labels_per_class=labels)
        for stage in ("stage1", "stage2"):
            through = {"freeze": "through", "freeze__stage": stage}
            runs.arms([0.2, 0.22], dataset__labels_per_class=labels, **through)
    titles = {axes.get_title(loc="left") for axes in draw(runs)["labels"].axes}
    panels = {"freeze=none", "freeze=through stage=stage1", "freeze=through stage=stage2"}
    assert titles == panels | {""}
    cells = compare(pair_runs(runs.frame()))
    named = {f"labels_per_class={labels} {panel}" for labels in "15" for panel in panels}
    assert set(cells["cell"]) == named
    rows = number_table(add_floors(cells, pair_runs(runs.frame()), runs.frame())).rows
    assert "nan" not in {cell.text for row in rows for cell in row}


def test_stages_are_in_the_order_of_the_network(runs) -> None:
    for number, stage in enumerate(("null", "stage10", "stage2", "stem")):
        runs.arms([0.1 * number, 0.1 * number + 0.01], model__cut=stage)
    figures = draw(runs)
    assert "labels" not in figures
    upper, lower = figures["stages"].axes
    ticks = [tick.get_text() for tick in lower.get_xticklabels()]
    assert ticks == ["stem", "stage2", "stage10", "all"]
    (line,) = [line for line in upper.get_lines() if line.get_marker() == "o"]
    assert list(line.get_xdata()) == sorted(line.get_xdata())  # connected from left to right
    assert (np.diff(line.get_ydata()) < 0).all()


@pytest.mark.parametrize(("metric", "side"), [("test_acc", "above"), ("test_loss", "below")])
def test_the_caption_says_on_which_side_rotation_is_better(runs, metric: str, side: str) -> None:
    runs.arms([0.1, 0.2])
    histories = runs.histories()
    pairs = pair_runs(runs.frame(), histories, metric)
    figures = draw_figures(compare(pairs), pairs, split_histories(histories))
    (caption,) = [figure.caption for figure in figures if figure.name == "pretext"]
    assert f"{side} the line, rotation is better" in caption


def test_no_label_figure_for_a_single_budget(runs) -> None:
    runs.arms([0.1, 0.2])
    assert "labels" not in draw(runs)


def test_many_cells_stay_readable_and_say_what_is_not_shown(runs, monkeypatch) -> None:
    monkeypatch.setattr(forest, "MOST_ROWS", 5)
    for epochs in range(1, 13):
        runs.arms([0.1, 0.12], schedule__warmup=str(epochs))
    histories = runs.histories()
    pairs = pair_runs(runs.frame(), histories)
    figures = draw_figures(compare(pairs), pairs, split_histories(histories))
    captions = {figure.name: figure.caption for figure in figures}
    assert "7 more cells are in the table" in captions["forest"]
    assert sum(name.startswith("curves") for name in captions) == learning_curves.MOST_CURVES


def test_without_pretext_costs_their_figures_are_omitted(runs) -> None:
    for seed in range(2):
        runs.downstream("rotation", seed, 0.6)
        runs.downstream("supervised", seed, 0.5)
    assert set(draw(runs)) == {"forest", "curves-1"}
