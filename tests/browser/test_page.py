"""The page in a real browser: Debian's Chromium, driven by Playwright.

Skipped if it is not installed; `.ci/run` installs it: apt-get install chromium.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import pytest

from ssl_rot.report.analysis import Question, answer
from ssl_rot.report.page.rendering import write_report

playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no browser: apt-get install chromium")

EVIL = "<img src=x onerror=alert(1)>"
ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"),
    *("--disable-component-update", "--disable-sync"),
)


def make_runs() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Runs with names that look like markup, since users may choose any name."""
    rows, lines = [], []
    for labels, gain in (("1", 0.1), ("10", 0.02), ("2", 0.05)):
        for seed in range(3):
            for arm in ("rotation", "supervised"):
                acc = 0.5 + (gain + 0.004 * seed) * (arm == "rotation")
                run_id = f"{arm}-{labels}-{seed}"
                rows.append(
                    {
                        "run_id": run_id,
                        "run_name": EVIL,
                        "status": "FINISHED",
                        "start_time": pd.Timestamp("2026-01-01"),
                        "params.seed": str(seed),
                        "params.dataset.labels_per_class": labels,
                        "params.model": EVIL,
                        "tags.ssl_rot.phase": "downstream",
                        "tags.ssl_rot.arm": arm,
                        "tags.ssl_rot.config_key": run_id,
                        "tags.ssl_rot.pair_key": f"{labels}-{seed}",
                        "tags.ssl_rot.command": f"python -m ssl_rot.run model={EVIL}",
                        "metrics.test_acc": acc,
                    }
                )
                lines += [(run_id, "test_acc", epoch, acc * epoch / 5) for epoch in range(1, 6)]
    rows.append(rows[0] | {"run_id": "failed", "status": "FAILED"})
    columns = ["run_id", "metric", "epoch", "value"]
    return pd.DataFrame(rows), pd.DataFrame(lines, columns=columns)


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs, histories = make_runs()
    # The histories are those of the made runs: nothing is read from a store.
    with patch("ssl_rot.report.analysis.load_histories", lambda *_: histories):
        report = answer(runs, Question(), EVIL, f"report {EVIL}")
    return write_report(report, tmp_path_factory.mktemp("report"))[0]


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield chromium
        chromium.close()


@pytest.fixture(params=[(1200, 900), (390, 844)], ids=["desk", "phone"])
def page(request, browser, page_file: Path) -> Iterator[object]:
    width, height = request.param
    opened = browser.new_page(viewport={"width": width, "height": height})
    opened.set_default_timeout(5000)
    opened.errors, opened.requests, opened.dialogs = [], [], []
    opened.on("pageerror", lambda error: opened.errors.append(str(error)))
    opened.on(
        "console",
        lambda message: opened.errors.append(message.text) if message.type == "error" else None,
    )
    opened.on("request", lambda made: opened.requests.append(made.url))
    opened.on("dialog", lambda dialog: (opened.dialogs.append(dialog.message), dialog.dismiss()))
    opened.goto(page_file.as_uri())
    opened.wait_for_load_state("load")
    yield opened
    opened.close()


def test_no_script_error_and_no_network_request(page, page_file: Path) -> None:
    assert page.errors == []
    requested = [url for url in page.requests if not url.startswith("data:")]
    assert requested == [page_file.as_uri()]


def test_every_figure_is_drawn(page) -> None:
    sizes = page.eval_on_selector_all(
        "figure img", "images => images.map(i => [i.complete, i.naturalWidth])"
    )
    assert len(sizes) >= 4
    assert all(complete and width > 100 for complete, width in sizes)


def test_markup_in_names_is_shown_as_text(page) -> None:
    assert page.dialogs == []
    assert page.locator("img[src=x]").count() == 0
    body = page.inner_text("body")
    assert body.count(EVIL) > 10
    assert f"python -m ssl_rot.run model={EVIL}" in body


def test_the_verdict_is_visible_without_scrolling(page) -> None:
    heading = page.locator("h1").bounding_box()
    first = page.locator(".verdicts li").first.bounding_box()
    assert heading["y"] < first["y"] < page.viewport_size["height"]
    assert page.inner_text("h1") == "Use rotation."


def column(page, name: str) -> list[str]:
    headings = page.locator("#cells thead button").all_inner_texts()
    position = headings.index(name) + 1
    return page.locator(f"#cells tbody td:nth-child({position})").all_inner_texts()


@pytest.mark.parametrize(
    ("heading", "ascending"),
    [
        # Numerically: 10 comes after 2.
        ("dataset.labels_per_class", ["1", "2", "10"]),
        ("difference (percentage points)", ["+2.40", "+5.40", "+10.40"]),
    ],
)
def test_sorting(page, heading: str, ascending: list[str]) -> None:
    button = page.get_by_role("button", name=heading, exact=True).first
    button.click()
    assert column(page, heading) == ascending
    button.click()
    assert column(page, heading) == ascending[::-1]
    cell = page.locator("#cells thead th", has=button)
    assert cell.get_attribute("aria-sort") == "descending"
    assert page.locator("#cells thead th[aria-sort]").count() == 1


def test_sorting_text(page) -> None:
    heading = page.locator("#pairs thead button", has_text="supervised-only run")
    column_of = "#pairs tbody td:nth-child(4)"
    names = sorted(page.locator(column_of).all_inner_texts())
    assert len(set(names)) == 9
    heading.click()
    assert page.locator(column_of).all_inner_texts() == names
    heading.click()
    assert page.locator(column_of).all_inner_texts() == names[::-1]


def test_sorting_keeps_the_rows_whole(page) -> None:
    before = sorted(page.locator("#cells tbody tr").all_inner_texts())
    page.get_by_role("button", name="rotation (%)", exact=True).first.click()
    assert sorted(page.locator("#cells tbody tr").all_inner_texts()) == before


def test_sorting_with_the_keyboard(page) -> None:
    button = page.get_by_role("button", name="dataset.labels_per_class", exact=True).first
    button.focus()
    page.keyboard.press("Enter")
    assert column(page, "dataset.labels_per_class") == ["1", "2", "10"]


def test_the_page_never_scrolls_sideways(page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]


def test_what_was_left_out_is_listed_with_its_reason(page) -> None:
    assert "not FINISHED: FAILED" in page.inner_text("#left-out")
