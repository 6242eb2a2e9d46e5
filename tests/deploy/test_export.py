"""``python -m ssl_rot.export``: a folder that others load, and that predicts as its run does."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import timm
import torch
import yaml
from safetensors.torch import load_file, save_file

from ssl_rot import export
from ssl_rot.data.folder.decoding import decode
from ssl_rot.deploy import card
from ssl_rot.deploy.exported import read_exported
from ssl_rot.deploy.trained import load_trained
from ssl_rot.errors import WeightsError
from ssl_rot.tracking.runs import ExistingStore, StoredRuns


def uri_of(ran):
    return f"sqlite:///{ran.folder}/mlflow.db"


def id_of(ran):
    return ran.runs["downstream"].info.run_id


def classifier_of(ran):
    runs = StoredRuns(ExistingStore.of_run(id_of(ran), uri_of(ran)))
    return load_trained(runs, id_of(ran)).classifier


@pytest.fixture
def call(monkeypatch, call_entry):
    """The command for a run: its exit status, standard output and standard error."""

    def called(ran, *arguments):
        monkeypatch.setattr("mlflow.get_tracking_uri", lambda: uri_of(ran))
        return call_entry(export.main, id_of(ran), *arguments)

    return called


def export_run(ran, folder, **options):
    defaults = {"onnx": False, "pt2": False, "license_id": "unknown", "push": None}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlflow.get_tracking_uri", lambda: uri_of(ran))
        export.export(export.Options(id_of(ran), folder, **defaults | options))
    return folder


@pytest.fixture(scope="module")
def exported(photograph_run, tmp_path_factory):
    """An export in all formats, for tests that only look."""
    folder = tmp_path_factory.mktemp("export") / "pictures"
    return export_run(photograph_run, folder, onnx=True, pt2=True, license_id="cc-by-4.0")


@pytest.fixture(scope="module")
def images(photographs):
    """The test photographs, uint8 ``[N, 16, 16, 3]``."""
    paths = sorted(photographs.glob("test/*/*"), key=str)
    return np.stack([decode(str(path), 16).transpose(1, 2, 0) for path in paths])


@pytest.fixture(scope="module")
def own_probabilities(photograph_run):
    own = pd.read_parquet(photograph_run.artifact("downstream", "predictions.parquet"))
    return own["probability"].to_numpy()


def test_the_folder_alone_predicts_as_its_run_did(exported, photographs, own_probabilities, capsys):
    from ssl_rot.predict import predict

    assert predict(str(exported), [f"{photographs}/test"]) == 0
    _, *lines = capsys.readouterr().out.splitlines()
    given = [np.float32(line.rpartition(",")[2]) for line in lines]
    assert np.array_equal(given, own_probabilities)


def test_torch_export_opens_the_pt2_without_this_package(
    exported, images, own_probabilities, tmp_path, run_cli
):
    np.save(tmp_path / "images.npy", images)
    program = (
        "import json, sys, numpy, torch\n"
        "extra = {'classes.json': ''}\n"
        f"graph = torch.export.load({str(exported / 'model.pt2')!r}, extra_files=extra).module()\n"
        "numpy.save('out.npy', graph(torch.from_numpy(numpy.load('images.npy'))).numpy())\n"
        "assert not any(name.startswith('ssl_rot') for name in sys.modules)\n"
        "print(json.loads(extra['classes.json']))\n"
    )
    done = run_cli(module=("-c", program))
    assert done.stdout == "['blue', 'red']\n"
    assert np.array_equal(np.load(tmp_path / "out.npy").max(1), own_probabilities)


def test_onnxruntime_gives_the_same_for_images_of_any_number_and_size(
    exported, images, photograph_run
):
    session = onnxruntime.InferenceSession(exported / "model.onnx")
    classifier = classifier_of(photograph_run)
    rng = np.random.default_rng(0)
    sizes = [(1, 16, 16), (5, 9, 40), (3, 40, 9), (2, 50, 64), (300, 16, 16)]
    batches = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    for batch in (images, *batches):
        (given,) = session.run(None, {"images": batch})
        expected = classifier(torch.from_numpy(batch)).numpy()
        assert given.shape == (len(batch), 2)
        assert np.abs(given - expected).max() < 1e-4
    classes = session.get_modelmeta().custom_metadata_map["classes"]
    assert json.loads(classes) == ["blue", "red"]


def test_the_config_has_what_timm_and_the_hub_look_for(exported):
    config = json.loads((exported / "config.json").read_text())
    assert config["architecture"] == "resnet_tiny"
    assert (config["num_classes"], config["num_features"]) == (2, 16)
    assert config["label_names"] == ["blue", "red"]
    cfg = config["pretrained_cfg"]
    assert cfg["input_size"] == [3, 16, 16]
    assert (cfg["interpolation"], cfg["crop_pct"], cfg["license"]) == ("bilinear", 1.0, "cc-by-4.0")
    assert len(cfg["mean"]) == len(cfg["std"]) == 3
    assert "model_args" not in config


def test_the_card_says_what_it_is_and_how_it_came_about(exported, photograph_run, photographs):
    card = (exported / "README.md").read_text()
    _, header, body = card.split("---\n", 2)
    read = yaml.safe_load(header)
    accuracy = photograph_run.runs["downstream"].data.metrics["test_acc"]
    assert read["license"] == "cc-by-4.0"
    assert read["pipeline_tag"] == "image-classification"
    assert read["model-index"][0]["results"][0]["metrics"][0]["value"] == round(accuracy, 4)
    tags = photograph_run.runs["downstream"].data.tags
    for fact in (
        f"| data | `image_folder` `{photographs.name}` |",
        "| labels per class | 3 |",
        "| arm | `supervised` |",
        "| seed | 0 |",
        f"| test accuracy | {accuracy:.4f}, of the last epoch, on the whole test split |",
        f"| commit | `{tags['mlflow.source.git.commit']}` |",
        f"| MLflow run | `{id_of(photograph_run)}` |",
        "python -m ssl_rot.run",
        "0. `blue`\n1. `red`",
        "This run was not compared",
        "python -m ssl_rot.report experiment_name=ssl_rot",
        "python -m ssl_rot.predict FOLDER IMAGES",
    ):
        assert fact in body
    assert "\n\n\n" not in body


def python_in(card, word):
    """The code block of a card that has this word."""
    (found,) = [code for code in re.findall(r"```python\n(.*?)```", card, re.S) if word in code]
    return found


def test_the_card_s_own_code_loads_the_graphs(exported, images, own_probabilities):
    card = (exported / "README.md").read_text().replace("FOLDER", str(exported))
    for word, given in (("torch.export", torch.from_numpy(images)), ("onnxruntime", images)):
        scope = {"images": given}
        exec(python_in(card, word), scope)
        best = np.asarray(scope["probabilities"]).max(1)
        assert np.allclose(best, own_probabilities, atol=1e-4)


@pytest.fixture(scope="module")
def timm_run(run_job, tmp_path_factory):
    """A network of timm's under a linear head, on gray images."""
    folder = tmp_path_factory.mktemp("timm_run")
    network = ("model=timm", "model.name=test_resnet", "dataset.image_size=32")
    return run_job(folder, *network, "schedule.epochs=1")


def test_timm_loads_the_whole_classifier_as_the_card_says(timm_run, tmp_path):
    folder = export_run(timm_run, tmp_path / "timm")
    images = torch.rand(3, 1, 32, 32)
    network = classifier_of(timm_run).network
    with torch.inference_mode():
        expected = network(images)
        scope = {}
        card = (folder / "README.md").read_text().replace("FOLDER", str(folder))
        exec(python_in(card, "timm"), scope)
        assert torch.allclose(scope["model"].eval()(images), expected, atol=1e-5)
        # The same from config.json alone, as from the Hub.
        model = timm.create_model(f"local-dir:{folder}", pretrained=True)
        assert torch.allclose(model.eval()(images), expected, atol=1e-5)
        overlay = {"file": str(folder / "model.safetensors"), "num_classes": 10}
        backbone = timm.create_model(
            "test_resnet",
            pretrained=True,
            in_chans=1,
            num_classes=0,
            global_pool="",
            pretrained_cfg_overlay=overlay | {"input_size": (1, 32, 32)},
        )
        assert torch.allclose(backbone.eval()(images), network.backbone(images), atol=1e-5)
    assert model.pretrained_cfg["label_names"] == list("0123456789")
    assert torch.equal(
        read_exported(folder)(torch.zeros(1, 32, 32, 1, dtype=torch.uint8)),
        classifier_of(timm_run)(torch.zeros(1, 32, 32, 1, dtype=torch.uint8)),
    )


def test_timm_loads_the_backbone_under_another_head(run_job, tmp_path):
    network = ("model=timm", "model.name=test_resnet", "dataset.image_size=32")
    ran = run_job(tmp_path, *network, "head=mlp", "head.pool=1", "schedule.epochs=1")
    folder = export_run(ran, tmp_path / "timm")
    assert "model_args" not in json.loads((folder / "config.json").read_text())
    scope = {}
    card = (folder / "README.md").read_text().replace("FOLDER", str(folder))
    exec(python_in(card, "timm"), scope)
    images = torch.rand(3, 1, 32, 32)
    network = classifier_of(ran).network
    with torch.inference_mode():
        given = scope["model"].eval().forward_features(images)
        assert torch.allclose(given, network.backbone(images), atol=1e-5)
    images = torch.randint(0, 256, (4, 32, 32, 1), dtype=torch.uint8)
    assert torch.equal(read_exported(folder)(images), classifier_of(ran)(images))


def test_a_compared_run_brings_its_cell(run_job, tmp_path):
    ran = {}
    for seed in range(3):
        for arm in ("supervised", "rotation"):
            ran[arm] = run_job(tmp_path, f"+experiment={arm}", f"seed={seed}", "schedule.epochs=1")
    for arm, last in ran.items():
        card = (export_run(last, tmp_path / f"of_{arm}") / "README.md").read_text()
        assert "Its cell of the report" in card
    (row,) = [
        line for line in card.splitlines() if re.search(r"[+-]\d+\.\d.* \[.*\d, .*\d\]", line)
    ]
    assert "3 seeds" in row
    assert "pre-trained by the task `rotation`" in card


def test_an_earlier_export_is_replaced_and_nothing_else(photograph_run, tmp_path, call):
    folder = tmp_path / "out"
    folder.mkdir()
    status, output, _ = call(photograph_run, "--to", folder)
    assert status == 0
    files = ["config.json", "model.safetensors", "README.md"]
    assert output.splitlines() == [str(folder / name) for name in files]
    (folder / "model.onnx").touch()  # of another export
    assert call(photograph_run, "--to", folder)[0] == 0
    assert {path.name for path in folder.iterdir()} == set(files)
    (folder / "own.txt").write_text("mine")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    status, _, errors = call(photograph_run, "--to", folder)
    assert status == 2
    assert "is not empty: it has 'own.txt'" in errors
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text("{}")
    status, _, errors = call(photograph_run, "--to", other)
    assert status == 2
    assert "is not empty" in errors
    assert "Traceback" not in errors


def test_what_fails_leaves_the_earlier_export(photograph_run, tmp_path, monkeypatch):
    folder = export_run(photograph_run, tmp_path / "out")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ssl_rot.deploy.folder.write_card", fail)
    with pytest.raises(export.UserError, match="out cannot be written: No space left on device"):
        export_run(photograph_run, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    with pytest.raises(export.UserError):
        export_run(photograph_run, tmp_path / "new")
    assert {path.name for path in tmp_path.iterdir()} - {"image_cache"} == {"out"}


def edit(value, *keys):
    """Changes config.json at a path of keys."""

    def change(folder):
        config = json.loads((folder / "config.json").read_text())
        node = config
        for key in keys[:-1]:
            node = node[key]
        node[keys[-1]] = value
        (folder / "config.json").write_text(json.dumps(config))

    return change


def replace_weights(change):
    def changed(folder):
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors")

    return changed


def write(name, content):
    return lambda folder: (folder / name).write_bytes(content)


HUGE = 10**9
BACKBONE = ("ssl_rot", "backbone")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "it has no readable config.json"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no such weights file"),
        (write("config.json", b"\xff"), "is not that of an export"),
        (write("config.json", b"[" * 100_000), "is not that of an export"),
        (write("config.json", b"{}"), "num_classes: Field required"),
        (write("model.safetensors", b"\x80\x04cos\nsystem\n."), "damaged, or no safetensors file"),
        (edit("os.system", *BACKBONE, "builder"), "built by os.system, which is not part of"),
        (edit("ssl_rot.models.build_backbone", *BACKBONE, "builder"), "is not part of ssl_rot"),
        (edit({"_target_": "os.system"}, *BACKBONE, "arguments"), "describes no network"),
        (edit({"_target_": "os.system"}, *BACKBONE, "arguments", "widths"), "widths"),
        (edit([10**5, 10**5], *BACKBONE, "arguments", "widths"), "does not fit this model"),
        (edit([HUGE, HUGE], *BACKBONE, "arguments", "blocks"), "more blocks than"),
        (edit([str(HUGE)], *BACKBONE, "arguments", "blocks"), "not whole numbers"),
        (edit("stage9", "ssl_rot", "cut"), "stage9"),
        (edit([3, HUGE, HUGE], "pretrained_cfg", "input_size"), "pretrained_cfg.input_size"),
        (edit([0, 0, 0], "pretrained_cfg", "std"), "pretrained_cfg.std"),
        (edit(["a"], "label_names"), "label_names does not have 2 names"),
        (replace_weights(lambda t: t.pop("head.2.bias")), "1 missing: head.2.bias"),
        (
            replace_weights(lambda t: t.update({"head.2.bias": torch.zeros(2).long()})),
            "tensors of other types",
        ),
    ],
    ids=lambda value: None if callable(value) else value[:25],
)
def test_a_damaged_or_hostile_folder_is_one_message(exported, tmp_path, damage, message):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((exported / name).read_bytes())
    damage(tmp_path)
    with pytest.raises(WeightsError, match=re.escape(message)) as caught:
        read_exported(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_flipped_byte_is_noticed(exported, tmp_path):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((exported / name).read_bytes())
    content = bytearray((tmp_path / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match="its tensors are not those that were saved"):
        read_exported(tmp_path)


def test_a_missing_extra_is_named_before_anything_is_written(
    photograph_run, tmp_path, monkeypatch, call
):
    monkeypatch.setattr("ssl_rot.deploy.graphs.ONNX_PACKAGES", ("onnx", "no_such_package"))
    arguments = ("--to", tmp_path / "out", "--onnx")
    status, _, errors = call(photograph_run, *arguments)
    assert status == 2
    assert errors == "--onnx needs no_such_package: pip install 'ssl_rot[onnx]'\n"
    assert not (tmp_path / "out").exists()


def test_help_imports_nothing_heavy(run_cli):
    done = run_cli("--help", module=("-X", "importtime", "-m", "ssl_rot.export"))
    assert "--push" in done.stdout
    assert {"torch", "mlflow", "numpy", "pandas", "huggingface_hub"}.isdisjoint(
        line.rpartition("|")[2].strip() for line in done.stderr.splitlines()
    )


def test_a_card_takes_names_for_what_they_are(photograph_run, exported):
    """Names with markup, line breaks and the ends of tables and code spans."""
    runs = StoredRuns(ExistingStore.of_run(id_of(photograph_run), uri_of(photograph_run)))
    trained = load_trained(runs, id_of(photograph_run))
    hostile = "``x``|\n---\n# <script>alert(1)</script>"
    tags = trained.run.tags | {"mlflow.runName": hostile, "mlflow.source.name": hostile}
    trained = replace(
        trained,
        run=replace(trained.run, tags=tags),
        inputs=replace(trained.inputs, classes=(hostile, "`")),
    )
    config = json.loads((exported / "config.json").read_text())
    text = card.write_card(
        trained, config, {"model.pt2"}, card.Comparison("```\n# x", "c"), hostile
    )
    _, header, body = text.split("---\n", 2)
    read = yaml.safe_load(header)
    assert (read["license"], read["model-index"][0]["name"]) == (hostile, hostile)
    one_line = "``x``\\| --- # <script>alert(1)</script>"
    assert f"| command | ``` {one_line} ``` |" in body
    assert f"0. ``` {one_line} ```\n1. `` ` ``" in body
    assert "\n# \\`\\`x\\`\\`\\| --- \\# \\<script\\>alert(1)\\</script\\>\n" in body
    assert "````\n```\n# x\n````" in body
