"""The command line: a mistake ends with one message and an exit status, before any training."""

from __future__ import annotations

import subprocess

import pytest
from mlflow import MlflowClient
from PIL import Image


def check_refused(output: str, status: int, expected_status: int, fragments: list[str]) -> None:
    assert status == expected_status, output
    for fragment in fragments:
        assert fragment in output
    assert "Traceback" not in output


def make_images(root, *folders: str) -> None:
    for folder in folders:
        (root / folder).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (8, 8), (80 * number, 0, 0)).save(root / folder / f"{number}.png")


REFUSED_BY_SSL_ROT = [
    (["+dataset.labels_per_clas=1"], ["dataset.labels_per_clas", "labels_per_class"]),
    (["+schedule.optimizer.momntum=0.9"], ["schedule.optimizer.momntum", "momentum"]),
    (["freeze=through", "freeze.stage=stage7"], ["freeze.stage=stage7", "stem, stage1"]),
    (["model.cut=stage7"], ["model.cut=stage7", "stem, stage1"]),
    (["dataset.labels_per_class=0"], ["dataset.labels_per_class=0", "at least 1"]),
    (["pretext=rotation", "pretext.angles=[0,30]"], ["pretext.angles=[0, 30]", "multiples of 45"]),
    (["schedule.lr=0"], ["schedule.lr=0", "greater than 0"]),
    (["pretext.schedule.lr=nan"], ["pretext.schedule.lr=nan", "greater than 0"]),
    (["schedule.epochs=0"], ["schedule.epochs=0", "at least 1"]),
    (["schedule.batch_size=0"], ["schedule.batch_size=0", "at least 1"]),
    (["dataset=image_folder"], ["dataset.root is not set; give it with dataset.root=..."]),
    (["dataset=image_folder", "dataset.root=nowhere"], ["dataset.root=nowhere"]),
    (["dataset=image_folder", "dataset.root=empty"], ["dataset.root=empty"]),
    (["dataset=image_folder", "dataset.root=foreign"], ["dataset.root=foreign", "bird"]),
    (["schedule.early_stop.metric=val_acc", "schedule.early_stop.threshold=0.9"],
     ["schedule.early_stop.metric=val_acc", "dataset.val_fraction=0"]),
    (["schedule.early_stop.metric=test_acc", "schedule.early_stop.threshold=0.9"],
     ["schedule.early_stop.metric=test_acc", "val_loss, val_acc"]),
    (["model.weights=nowhere.safetensors"], ["model.weights=nowhere.safetensors"]),
    (["dataset.mean=[0.1,0.2,0.3]"], ["dataset.mean=[0.1, 0.2, 0.3]", "1 values"]),
    (["seed=-1", "schedule.lr=0", "+head.x=1", "pretext=rotation", "pretext.angles=[1]"],
     ["4 faults", "seed=-1", "schedule.lr=0", "head.x", "pretext.angles=[1]"]),
]  # fmt: skip

REFUSED_BY_HYDRA = [
    (["dataset.labels_per_clas=1"], ["labels_per_clas"]),
    (["loss=focall"], ["loss/focall", "focal", "cross_entropy"]),
    (["dataset=mnist"], ["dataset/mnist", "digits"]),
    (["+experiment=rotations"], ["experiment/rotations", "supervised"]),
    (["schedule.lr=[1"], ["'[1'"]),
]


@pytest.mark.parametrize(
    ("overrides", "fragments"), REFUSED_BY_SSL_ROT, ids=lambda v: " ".join(v)[:50]
)
def test_our_refusals_have_status_2_and_come_before_training(
    call_main, make_store, all_runs, tmp_path, overrides, fragments
):
    make_images(tmp_path / "foreign", "train/cat", "train/dog", "test/cat", "test/bird")
    (tmp_path / "empty").mkdir()
    uri = make_store(tmp_path)
    status, output = call_main(f"tracking.uri={uri}", *overrides)
    check_refused(output, status, 2, fragments)
    assert all_runs(uri) == []


@pytest.mark.parametrize(
    ("overrides", "fragments"), REFUSED_BY_HYDRA, ids=lambda v: " ".join(v)[:50]
)
def test_hydras_own_refusals_have_status_1(call_main, tmp_path, overrides, fragments):
    status, output = call_main(*overrides)
    check_refused(output, status, 1, fragments)
    assert not (tmp_path / "mlflow.db").exists()


def test_a_store_that_cannot_be_used_is_reported(call_main, tmp_path):
    (tmp_path / "file").touch()
    status, output = call_main(f"tracking.uri=sqlite:///{tmp_path}/file/mlflow.db")
    check_refused(output, status, 2, ["tracking.uri=sqlite:///", "cannot be used"])


def test_a_non_finite_loss_is_located_and_ends_the_run_as_failed(
    call_main, make_store, all_runs, tmp_path
):
    uri = make_store(tmp_path)
    status, output = call_main(
        f"tracking.uri={uri}", "dataset.image_size=8", "schedule=constant", "schedule.lr=1e30"
    )
    where = "The downstream loss is not finite at epoch 1, step 1 (lr 1e+30)"
    check_refused(output, status, 2, [where, "try schedule.lr=1e+29"])
    (run,) = all_runs(uri)
    assert run.info.status == "FAILED"


# Not even root can write in /proc.
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "cannot be written to in /proc"),
        (["hydra.run.dir={}/run"], "tracking.uri=sqlite:////proc/mlflow.db cannot be used"),
        (["hydra.run.dir={}/run", "tracking.uri=sqlite:///{}/mlflow.db"], "/proc/mlruns"),
        (["--multirun", "tracking.uri=sqlite:///{}/mlflow.db"], "hydra.sweep.dir=/proc/multirun"),
    ],
)
def test_a_directory_that_cannot_be_written_to_is_reported(
    call_main, all_runs, make_store, monkeypatch, tmp_path, arguments, message
):
    make_store(tmp_path)
    monkeypatch.setattr("mlflow.get_tracking_uri", lambda: "sqlite:///mlflow.db")
    call = [argument.format(tmp_path) for argument in arguments]
    status, output = call_main(*call, "tracking.experiment_name=new", cwd="/proc")
    check_refused(output, status, 2, [message])
    assert "RUNNING" not in {run.info.status for run in all_runs(make_store(tmp_path))}


def test_the_working_directory_need_not_be_writable_if_output_goes_elsewhere(
    call_main, make_store, tmp_path
):
    uri = make_store(tmp_path)
    location = [f"hydra.run.dir={tmp_path}/run", f"tracking.uri={uri}"]
    MlflowClient(uri).create_experiment("here", str(tmp_path / "artifacts"))
    tiny = ("dataset.image_size=8", "dataset.train_size=96", "schedule.epochs=1")
    status, output = call_main(*location, *tiny, "tracking.experiment_name=here", cwd="/proc")
    assert status == 0, output
    status, output = call_main("--help", cwd="/proc")
    assert status == 0, output


def test_help_lists_what_can_be_set_and_imports_nothing_heavy(run_cli, checkout):
    done = run_cli("--help", module=("-X", "importtime", "-m", "ssl_rot.run"))
    for group in ("dataset", "model", "head", "pretext", "loss", "schedule", "freeze"):
        options = ", ".join(sorted(file.stem for file in (checkout / "conf" / group).iterdir()))
        assert f"{group}: {options}" in done.stdout
    assert "dataset.labels_per_class" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "hydra" in imported
    assert imported.isdisjoint({"torch", "mlflow", "timm", "pandas", "sklearn", "pydantic"})


def test_training_on_digits_imports_only_what_it_needs(run_cli):
    code = "import sys, ssl_rot.config.validation, ssl_rot.experiment.pipeline; print(*sys.modules)"
    imported = set(run_cli(module=("-c", code)).stdout.split())
    assert "torch" in imported
    assert imported.isdisjoint({"timm", "torchvision", "sklearn", "matplotlib"})


def test_the_command_prints_its_result_and_records_it(run_cli, all_runs, checkout, tmp_path):
    done = run_cli(
        *("+experiment=rotation", "dataset.image_size=8", "dataset.train_size=32"),
        *("dataset.labels_per_class=2", "schedule.epochs=1", "pretext.schedule.epochs=1"),
    )
    for part in ("digits, rotation, seed 0", "pretext", "downstream", "total", "mlflow ui"):
        assert part in done.stdout
    weights = next(line.split()[1] for line in done.stdout.splitlines() if "  weights" in line)
    assert (tmp_path / weights).is_file()
    assert "Traceback" not in done.stderr
    assert "%|" not in done.stderr  # no progress bar without a terminal
    assert {"mlflow.db", "mlruns", "outputs"} <= {path.name for path in tmp_path.iterdir()}
    runs = all_runs(f"sqlite:///{tmp_path}/mlflow.db")
    assert sorted(run.data.tags["ssl_rot.phase"] for run in runs) == [
        "downstream",
        "floor",
        "pretext",
    ]
    if (checkout / ".git").exists():
        command = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
        head = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        assert {run.data.tags["mlflow.source.git.commit"] for run in runs} == {head}


@pytest.mark.parametrize("kind", [[], ["--multirun"]], ids=["run", "sweep"])
def test_with_logging_disabled_a_refusal_still_reaches_stderr(run_cli, kind):
    disabled = ("hydra/job_logging=disabled", "hydra/hydra_logging=disabled")
    done = run_cli(*kind, *disabled, "seed=-1", expect=2)
    assert done.stderr.count("seed=-1 is not allowed") == 1
    assert done.stdout == ""


def test_a_refusal_in_a_process_of_its_own(run_cli, tmp_path):
    done = run_cli("+schedule.optimizer.momntum=0.9", expect=2)
    output = done.stdout + done.stderr
    assert output.count("momntum") == 1
    assert "Traceback" not in output
    assert not (tmp_path / "mlflow.db").exists()
