"""MLflow's own UI, on the runs of this project."""

from __future__ import annotations

import shutil

import pytest

from ssl_rot.tracking import Tracker

playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no browser: apt-get install chromium")


@pytest.mark.slow(60)
def test_the_page_of_a_run_is_one_of_model_training(make_server, make_store, run_job, tmp_path):
    run = run_job(tmp_path, "+experiment=supervised").runs["downstream"]
    server = make_server(tmp_path, make_store(tmp_path))
    server.start()
    page_of_run = Tracker("ssl_rot", server.uri).store.page(run.info.run_id)
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = chromium.new_page()
        page.set_default_timeout(60_000)
        page.goto(page_of_run)
        page.get_by_text("A classifier trained from random weights on 30 labels").wait_for()
        page.get_by_text("Model metrics").first.wait_for()
        assert page.get_by_text("Model registry").count() == 1  # not in the mode for traces
        chromium.close()
