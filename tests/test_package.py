"""The wheel: everything in it, and at home in an empty directory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

TINY = (
    *("dataset.image_size=8", "dataset.train_size=32", "dataset.labels_per_class=2"),
    *("schedule.epochs=1", "pretext.schedule.epochs=1"),
)


@pytest.fixture(scope="module")
def wheel(checkout, tmp_path_factory) -> Path:
    """Built from a copy, so that nothing is left behind in the checkout."""
    source = tmp_path_factory.mktemp("source")
    for name in ("ssl_rot", "hydra_plugins", "conf"):
        shutil.copytree(
            checkout / name, source / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(checkout / name, source / name)
    built = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(built)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = built.iterdir()
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The wheel alone; what it depends on comes from this environment."""
    target = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    command += ["--disable-pip-version-check", "--target", str(target), str(wheel)]
    subprocess.run(command, check=True)
    return target


def test_the_wheel_holds_all_that_is_no_module(wheel, checkout):
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in (checkout / "conf").rglob("*.yaml"):
        assert f"ssl_rot/conf/{path.relative_to(checkout / 'conf')}" in names
    for path in (checkout / "ssl_rot").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:  # templates, styles, py.typed
            assert str(path.relative_to(checkout)) in names
    assert "hydra_plugins/ssl_rot_launcher/__init__.py" in names
    assert "hydra_plugins/__init__.py" not in names  # other plugins share the namespace
    assert {"ssl_rot/py.typed", "ssl_rot/conf/config.yaml"} <= names
    assert not any(name.startswith(("tests", "conf/")) for name in names)


def test_the_metadata_names_the_commands_and_the_extras(installed):
    (info,) = installed.glob("ssl_rot-*.dist-info")
    scripts = (info / "entry_points.txt").read_text()
    assert "ssl-rot = ssl_rot.run:main" in scripts
    assert "ssl-rot-report = ssl_rot.report.__main__:main" in scripts
    metadata = (info / "METADATA").read_text()
    for extra in ("dev", "submitit", "ray", "optuna"):
        assert f"Provides-Extra: {extra}" in metadata
    assert "Requires-Python: >=3.11" in metadata
    assert (installed / "bin" / "ssl-rot").exists() or os.name == "nt"


@pytest.mark.slow
def test_a_run_in_an_empty_directory(run_cli, make_store, all_runs, installed, tmp_path):
    where = run_cli("-c", "import ssl_rot; print(ssl_rot.__file__)", module=(), path=installed)
    assert where.stdout.startswith(str(installed))
    # MLflow's own default is mlflow.db in the working directory; an empty one saves seconds.
    uri = make_store(tmp_path)
    done = run_cli("+experiment=rotation", *TINY, path=installed)
    assert "digits, rotation, seed 0" in done.stdout
    phases = [run.data.tags["ssl_rot.phase"] for run in all_runs(uri)]
    assert sorted(phases) == ["downstream", "floor", "pretext"]
    assert {path.name for path in tmp_path.iterdir()} == {
        *("mlflow.db", ".mlflow.db.locks", "mlruns", "outputs")
    }


def test_the_console_script_finds_its_configs(run_cli, installed):
    script = installed / "bin" / "ssl-rot"
    done = run_cli("--cfg", "job", "schedule.lr=0.123", module=(str(script),), path=installed)
    assert "lr: 0.123" in done.stdout
    assert "labels_per_class: 5" in done.stdout


def test_hydra_finds_the_launcher_in_a_wheel(run_cli, installed, tmp_path):
    code = (
        "import inspect; from hydra.core.plugins import Plugins; "
        "from hydra.plugins.launcher import Launcher; "
        "print(*map(inspect.getfile, Plugins.instance().discover(Launcher)))"
    )
    found = run_cli("-c", code, module=(), path=installed).stdout
    assert str(installed / "hydra_plugins" / "ssl_rot_launcher" / "__init__.py") in found
