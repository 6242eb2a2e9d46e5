"""A command started from the warm process behaves as one that Python starts anew."""

from __future__ import annotations

import json
import os
import signal

import pytest

SCRIPT = """
import json, os, sys, tempfile, warm_neighbor
about = {
    "argv": sys.argv[1:], "cwd": os.getcwd(), "name": __name__,
    "leads": os.getpid() == os.getpgrp(),
    "variable": os.environ.get("SSL_ROT_TEST"), "temporary": tempfile.gettempdir(),
    "neighbor": warm_neighbor.VALUE, "warm": "torch" in sys.modules,
}
print(json.dumps(about))
print("to stderr", file=sys.stderr)
sys.exit(7)
"""


def test_arguments_folder_environment_path_and_status(start_python, monkeypatch, tmp_path):
    work, path = tmp_path / "work", tmp_path / "path"
    work.mkdir()
    path.mkdir()
    (tmp_path / "script.py").write_text(SCRIPT)
    (path / "warm_neighbor.py").write_text("VALUE = 5")
    monkeypatch.setenv("SSL_ROT_TEST", "set")
    process = start_python(
        tmp_path / "script.py", "a b", cwd=work, path=[path], TMPDIR=str(tmp_path)
    )
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 7
    first, second = output.splitlines()
    assert second == "to stderr"
    assert json.loads(first) == {
        "argv": ["a b"], "cwd": str(work), "name": "__main__", "leads": True, "variable": "set",
        "temporary": str(tmp_path), "neighbor": 5, "warm": True,
    }  # fmt: skip


def test_an_exception_is_status_1_and_a_traceback(start_python, tmp_path):
    (tmp_path / "script.py").write_text("1 / 0")
    process = start_python(tmp_path / "script.py", cwd=tmp_path)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "ZeroDivisionError" in output


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_a_signal_ends_it_and_its_group(start_python, tmp_path, signum):
    (tmp_path / "script.py").write_text("import os, time\nos.fork()\ntime.sleep(600)")
    process = start_python(tmp_path / "script.py", cwd=tmp_path)
    assert process.poll() is None
    os.killpg(process.pid, signum)
    assert process.wait(timeout=60) == -signum
    process.communicate(timeout=60)  # its child's output is closed, too
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


def test_what_it_prints_is_never_too_much(start_python, tmp_path):
    (tmp_path / "script.py").write_text("print('x' * 10**6)")
    process = start_python(tmp_path / "script.py", cwd=tmp_path)
    assert process.wait(timeout=60) == 0
    assert len(process.communicate(timeout=60)[0]) == 10**6 + 1
