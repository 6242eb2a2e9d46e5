"""Runs are killed at random moments and resumed: nothing differs, is lost, or stays RUNNING.

SSL_ROT_KILLS=200 python -m pytest tests/reliability/test_kill_anywhere.py    # make soak
"""

from __future__ import annotations

import csv
import hashlib
import os
import random
import select
import signal
import sqlite3
import time
from collections import Counter
from itertools import count, cycle
from pathlib import Path

import pytest
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[2]
KILLS = int(os.environ.get("SSL_ROT_KILLS", "12"))
SEED = int(os.environ.get("SSL_ROT_KILL_SEED", "0"))
RUN = (
    *("+experiment=rotation", "dataset.image_size=8", "dataset.train_size=96"),
    *("dataset.labels_per_class=3", "model.widths=[8,16]", "model.blocks=[1,1]", "precision=fp32"),
    *("pretext.schedule.epochs=4", "pretext.schedule.batch_size=32", "checkpoint.every=2"),
    *(
        "schedule.epochs=5",
        "schedule.batch_size=16",
        "freeze=gradual",
        "freeze.every=2",
        "dataset.augment.crop_padding=0",
        "floors=false",
    ),
)
TIMES = ("timestamp", "epoch_seconds", "images_per_second")
UPLOADING = ".artifact.uploading."  # what MLflow itself was copying when it was killed
TRACED_RUN = Path(__file__).with_name("traced_run.py")
PRETEXTS = sorted(path.stem for path in (ROOT / "conf" / "pretext").glob("*.yaml"))
PRETEXTS = [option for option in PRETEXTS if option not in ("none", "weights")]
PLACES = ("set-up", "pretext", "transfer", "downstream", "results", "checkpoint", "MLflow")


@pytest.fixture
def execute(start_python):
    """Runs the command line in a process of its own, and kills it at its moment.

    That is ``{"after": seconds}``, or ``{"during": "checkpoint", "number": 3, "delay": seconds}``:
    once it writes its third.
    """

    def run(folder, *args, kill=None):
        reading, writing = os.pipe()
        descriptors = {"SSL_ROT_TRACE": writing}
        process = start_python(TRACED_RUN, *RUN, *args, cwd=folder, descriptors=descriptors)
        os.close(writing)
        followed = follow(process, reading, kill or {})
        os.close(reading)
        with (folder / "output.txt").open("a") as file:
            file.write(process.communicate(timeout=60)[0])
        return followed | {"status": process.returncode}

    return run


def follow(process, reading, kill):
    """Where a run was when it ended, how often it came by each place, and its seconds there."""
    deadline = time.monotonic() + kill["after"] if "after" in kill else None
    inside, passed = ["set-up"], Counter()
    seconds = Counter()  # in each place, not in those inside it
    since, partial = time.monotonic(), ""
    while True:
        wait = None if deadline is None else max(0.0, deadline - time.monotonic())
        if not select.select([reading], [], [], wait)[0]:
            process.send_signal(signal.SIGKILL)
            deadline = None
            continue
        read = os.read(reading, 4096)
        if not read:
            return {"place": inside[-1], "passed": passed, "seconds_in": seconds}
        *lines, partial = (partial + read.decode()).split("\n")
        for line in lines:
            now = time.monotonic()
            seconds[inside[-1]] += now - since
            since = now
            place = line[1:]
            if line[0] == "-":
                del inside[len(inside) - 1 - inside[::-1].index(place) :]
                continue
            inside.append(place)
            passed[place] += 1
            if place == kill.get("during") and passed[place] == kill["number"]:
                deadline = now + kill["delay"]


def what_came_out(folder):
    """All that a store holds, but for times and ids."""
    database = sqlite3.connect(folder / "mlflow.db")
    found = []
    for run_id, status, uri in database.execute("select run_uuid, status, artifact_uri from runs"):

        def rows(columns, table, run_id=run_id):
            query = f"select {columns} from {table} where run_uuid = ?"
            return database.execute(query, (run_id,)).fetchall()

        tags, params = dict(rows("key, value", "tags")), dict(rows("key, value", "params"))
        points = [row for row in rows("key, step, value, is_nan", "metrics")
                  if row[0].removeprefix("pretext/") not in TIMES]  # fmt: skip
        del params["resume"]
        artifacts = Path(uri)
        weights = hashlib.sha256()
        for name, tensor in sorted(load_file(artifacts / "weights.safetensors").items()):
            weights.update(name.encode() + tensor.numpy().tobytes())
        with (artifacts / "history.csv").open() as file:
            told = [{k: v for k, v in row.items() if k not in TIMES}
                    for row in csv.DictReader(file)]  # fmt: skip
        # Figures are drawn once a run has FINISHED; a kill in that moment costs them, and no more.
        files = sorted(str(p.relative_to(artifacts)) for p in artifacts.rglob("*")
                       if p.is_file() and not p.name.startswith(UPLOADING)
                       and p.parent.name != "figures")  # fmt: skip
        predictions = artifacts / "predictions.parquet"
        if tags["ssl_rot.phase"] == "downstream":
            weights.update(predictions.read_bytes())
        about = (tags["ssl_rot.phase"], status, "ssl_rot.error" in tags)
        found.append((about, sorted(points), weights.hexdigest(), told, files, params))
    database.close()
    return sorted(found, key=lambda run: run[0])


def moments(draws, whole):
    """When to kill: first in the pre-training, then in any place as often as in any other.

    There, at any time.
    """
    for number in count():
        place = draws.choice(PLACES) if number else "pretext"
        spent = whole["seconds_in"][place]
        if place == "set-up":  # what is before the first epoch, and what is after the last
            yield {"after": draws.uniform(0, spent)}
        else:
            times = whole["passed"][place]
            delay = draws.uniform(0, spent / times)
            yield {"during": place, "number": draws.randint(1, times), "delay": delay}


@pytest.mark.slow(100)
def test_a_run_killed_at_any_moment_resumes_to_the_same_results(
    execute, make_store, tmp_path_factory, capsys
):
    base = tmp_path_factory.mktemp("kill")
    make_store(base)
    draws = random.Random(SEED)
    expected, when = {}, {}
    for option in PRETEXTS:
        whole = base / option
        whole.mkdir()
        make_store(whole)
        ended = execute(whole, f"pretext={option}")
        assert ended["status"] == 0, (whole / "output.txt").read_text()
        expected[option] = what_came_out(whole)
        phases = [run[0][:2] for run in expected[option]]
        assert phases == [("downstream", "FINISHED"), ("pretext", "FINISHED")]
        when[option] = moments(draws, ended)
    hit, twice, missed, different = Counter(), 0, 0, []
    options = cycle(PRETEXTS)
    option = next(options)
    while hit.total() - twice < KILLS:
        folder = base / str(hit.total() + missed)
        folder.mkdir()
        if draws.random() < 0.95:  # else the run makes its database itself
            make_store(folder)
        kill = next(when[option])
        first = execute(folder, f"pretext={option}", kill=kill)
        if first["status"] == 0:  # over before its moment came
            missed += 1
            continue
        assert first["status"] == -9, (folder / "output.txt").read_text()
        hit[first["place"]] += 1
        story = [option, kill, first["place"]]
        if draws.random() < 0.25:
            kill = next(when[option])
            second = execute(folder, f"pretext={option}", "resume=true", kill=kill)
            assert second["status"] in (0, -9), (folder / "output.txt").read_text()
            if second["status"] == -9:
                hit[second["place"]] += 1
                twice += 1
                story += [kill, second["place"]]
        last = execute(folder, f"pretext={option}", "resume=true")
        if last["status"] != 0 or what_came_out(folder) != expected[option]:
            different.append((story, str(folder)))
        option = next(options)
    with capsys.disabled():
        print(
            f"\n{KILLS} runs of {len(PRETEXTS)} pretexts killed, {twice} of them twice "
            f"(seed {SEED}); it fell in "
            + ", ".join(f"{place} {times}" for place, times in hit.most_common())
            + f"; {len(different)} differ from the run that was not killed"
        )
    assert different == []
