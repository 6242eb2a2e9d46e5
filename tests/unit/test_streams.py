"""Output that nobody reads any more."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import logging, os, sys
from ssl_rot.streams import outliving_readers
with outliving_readers():
    sys.stdin.read()  # until the reader has gone
    logging.basicConfig(stream=sys.stdout)
    for number in range(3):
        print("line", number, flush={flush})
        logging.error("error %d", number)
        print("noise", file=sys.stderr)
open("end", "w").close()
"""


@pytest.mark.parametrize("flush", [True, False])
@pytest.mark.parametrize("unread", ["stdout", "stderr"])
def test_a_program_outlives_its_readers(tmp_path, checkout, flush, unread):
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(flush=flush)], cwd=tmp_path, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(checkout)},
    )  # fmt: skip
    getattr(process, unread).close()
    process.stdin.close()
    read = process.stderr if unread == "stdout" else process.stdout
    shown = read.read()
    assert process.wait() == 0, shown
    assert (tmp_path / "end").exists()
    assert "Error" not in shown.replace("ERROR", "")
    assert shown.count("noise" if unread == "stdout" else "line") == 3


def test_a_letter_that_the_terminal_does_not_have_is_escaped():
    code = "from ssl_rot.streams import *\nwith outliving_readers(): print('caf\\u00e9')"
    environment = os.environ | {"PYTHONIOENCODING": "ascii:strict"}
    shown = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert shown.stdout == b"caf\\xe9\n", shown.stderr


def test_a_program_outlives_its_terminal(tmp_path, checkout):
    ours, its = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(flush=True)], cwd=tmp_path,
        stdin=subprocess.PIPE, stdout=its, stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(checkout)},
    )  # fmt: skip
    os.close(its)
    os.close(ours)
    shown = process.communicate()[1]
    assert process.returncode == 0, shown
    assert (tmp_path / "end").exists()


@pytest.mark.parametrize("kind", [[], ["--multirun"]], ids=["run", "sweep"])
def test_runs_whose_output_nobody_reads_finish(make_store, all_runs, checkout, tmp_path, kind):
    uri = make_store(tmp_path)
    tiny = ("dataset.image_size=8", "dataset.train_size=96", "model.widths=[4]", "model.blocks=[1]")
    process = subprocess.Popen(
        [sys.executable, "-m", "ssl_rot.run", *kind, "+experiment=supervised", *tiny,
         "schedule.epochs=1", f"tracking.uri={uri}"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(checkout)},
    )  # fmt: skip
    process.stdout.close()
    shown = process.stderr.read()
    assert process.wait() == 0, shown
    assert "Traceback" not in shown
    assert {run.info.status for run in all_runs(uri)} == {"FINISHED"}
