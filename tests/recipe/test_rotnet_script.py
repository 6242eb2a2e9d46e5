"""A long sweep in short pieces."""

from __future__ import annotations

import json
import runpy
import sys
import time

import pytest
from omegaconf import OmegaConf


@pytest.fixture
def script(checkout):
    return runpy.run_path(str(checkout / "scripts" / "rotnet.py"))


@pytest.mark.parametrize(
    ("code", "expected"),
    [("pass", 0), ("raise SystemExit(2)", 2), ("time.sleep(60)", 75)],
    ids=["done", "failed", "out of time"],
)
def test_a_piece_tells_time_that_ran_out_from_failure(script, code, expected):
    ends = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(143)); "
    began = time.monotonic()
    assert script["piece"]([sys.executable, "-c", ends + code], 1.0) == expected
    assert time.monotonic() - began < 30


def test_a_piece_is_a_resumed_sweep_and_leaves_a_record(script, monkeypatch, make_store, tmp_path):
    make_store(tmp_path)
    monkeypatch.chdir(tmp_path)
    commands = []
    main = script["main"]
    monkeypatch.setitem(
        main.__globals__, "piece", lambda command, seconds: commands.append(command) or 75
    )
    monkeypatch.setattr(sys, "argv", ["rotnet.py", "turns", "seed=0,1"])
    assert main() == 75
    (command,) = commands
    assert command[1:3] == ["-m", "ssl_rot.run"]
    assert {"+sweep=rotnet_turns", "resume=true", "seed=0,1"} <= set(command)
    record = json.loads((tmp_path / "rotnet_turns.json").read_text())
    assert (record["part"], record["finished"], record["beside_published"]) == ("turns", False, [])


def test_every_part_is_a_sweep(checkout, capsys, monkeypatch, script):
    monkeypatch.setattr(sys, "argv", ["rotnet.py", "--help"])
    with pytest.raises(SystemExit):
        script["main"]()
    told = capsys.readouterr().out
    parts = [path.stem for path in (checkout / "conf" / "sweep").glob("rotnet_*.yaml")]
    assert len(parts) == 4
    for part in parts:
        assert part.removeprefix("rotnet_") in told
        sweep = OmegaConf.load(checkout / "conf" / "sweep" / f"{part}.yaml")
        assert sweep.hydra.mode == "MULTIRUN"
