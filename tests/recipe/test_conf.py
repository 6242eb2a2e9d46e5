"""Every file under conf/: its command works, its options validate, its experiments train."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image

from ssl_rot.config.params import flatten
from ssl_rot.config.schema import has_pretext
from ssl_rot.config.validation import validate

CONF = Path(__file__).resolve().parents[2] / "conf"
FILES = sorted(CONF.rglob("*.yaml"))
NAMES = [str(path.relative_to(CONF)) for path in FILES]

# What an option cannot know by itself.
NEEDED = {
    "dataset/huggingface.yaml": ["dataset.path=pictures.parquet"],
    "dataset/image_folder.yaml": ["dataset.root=pictures"],
    "freeze/through.yaml": ["freeze.stage=stage1"],
    "pretext/weights.yaml": ["pretext.source=file.safetensors"],
}

COMMAND = re.compile(r"^# python -m (ssl_rot\.\w+)(.*)$", re.MULTILINE)


def command_of(path: Path) -> tuple[str, list[str]]:
    """The module and the arguments of the command that a file opens with."""
    lines = path.read_text().splitlines()
    first = lines[1] if lines[0].startswith("# @package") else lines[0]
    match = COMMAND.match(first)
    assert match, f"{path}: opens with {first!r}, not with the command that uses it"
    arguments = shlex.split(match[2])
    end = next((i for i, a in enumerate(arguments) if a.startswith("(")), len(arguments))
    return match[1], arguments[:end]  # a remark in brackets may follow


def jobs_of(arguments: list[str]) -> list[list[str]]:
    """The overrides of every job of a command, one for a single run."""
    overrides = [a for a in arguments if a not in ("-m", "--multirun")]
    parsed = OverridesParser.create().parse_overrides(overrides)
    (batch,) = BasicSweeper.split_arguments(parsed, None)
    return [list(job) for job in batch]


def test_files_are_found():
    assert len(FILES) > 20
    assert {"config.yaml", "dataset/digits.yaml", "experiment/rotation.yaml"} <= set(NAMES)


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_a_file_opens_with_a_command_that_uses_it_and_composes(compose, choices, path):
    module, arguments = command_of(path)
    if module == "ssl_rot.report":  # which takes values that Hydra's grammar does not
        assert {a.partition("=")[0] for a in arguments} <= set(compose(config_name="report"))
        return
    jobs = jobs_of(arguments)
    for job in jobs:
        compose(*job)
    group = "/".join(path.relative_to(CONF).parts[:-1])
    if group:  # an option: one of the jobs chooses it
        assert path.stem in [choices(*job).get(group) for job in jobs]


@pytest.mark.parametrize(
    "path",
    [p for p in FILES if p.parent.name in ("dataset", "model", "head", "loss", "freeze", "pretext")
     or p.parent.name in ("schedule", "experiment")],
    ids=lambda path: str(path.relative_to(CONF)),
)  # fmt: skip
def test_every_option_of_every_group_validates(compose, path):
    name = str(path.relative_to(CONF))
    plus = "+" if path.parent.name == "experiment" else ""
    config = validate(compose(f"{plus}{path.parent.name}={path.stem}", *NEEDED.get(name, [])))
    assert not OmegaConf.missing_keys(OmegaConf.create(config))


@pytest.mark.parametrize("name", sorted(p.stem for p in (CONF / "schedule").iterdir()))
def test_the_pretext_takes_every_schedule(compose, name):
    cfg = compose("+experiment=rotation", f"schedule@pretext.schedule={name}")
    own = compose(f"schedule={name}").schedule
    validate(cfg)
    scheduler = OmegaConf.select(cfg, "pretext.schedule.scheduler._target_")
    assert scheduler == OmegaConf.select(own, "scheduler._target_")
    assert cfg.schedule == compose("+experiment=rotation").schedule  # the downstream one stays


@pytest.mark.parametrize("name", sorted(p.stem for p in (CONF / "loss").iterdir()))
def test_the_pretext_takes_every_loss(compose, name):
    cfg = compose("+experiment=rotation", f"loss@pretext.loss={name}")
    validate(cfg)
    assert cfg.pretext.loss == compose(f"loss={name}").loss


@pytest.mark.parametrize("name", sorted(p.stem for p in (CONF / "pretext").iterdir()))
def test_pretexts_have_the_same_keys_so_that_a_sweep_can_mix_them(compose, name):
    def keys(option):
        return flatten(OmegaConf.to_container(compose(f"pretext={option}").pretext))

    assert keys(name).keys() >= keys("none").keys()
    needed = NEEDED.get(f"pretext/{name}.yaml", [])
    cfg = compose(f"pretext={name}", "pretext.schedule.epochs=2", "pretext.reuse=false", *needed)
    assert validate(cfg)["pretext"]["schedule"]["epochs"] == 2


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("article_rotation", {"epochs": 100, "batch_size": 4086, "lr": 0.2, "momentum": 0.0}),
        ("article_supervised", {"epochs": 200, "batch_size": 4086, "lr": 0.2, "momentum": 0.0}),
    ],
)
def test_the_articles_parameters(compose, name, expected):
    cfg = compose(f"+experiment={name}")
    assert {key: cfg.schedule[key] for key in expected} == expected
    assert cfg.schedule.scheduler is None
    assert cfg.loss._target_ == "ssl_rot.losses.FocalLoss"
    assert (cfg.loss.alpha, cfg.loss.gamma) == (0.5, 2.0)
    assert cfg.model.init == cfg.head.init == "xavier"
    assert [round(255 * value, 1) for value in cfg.dataset.mean] == [125.3, 123.0, 113.9]
    assert [round(255 * value, 1) for value in cfg.dataset.std] == [63.0, 62.1, 66.7]
    assert cfg.dataset.labels_per_class is None
    assert not cfg.dataset.augment.flip
    stop = cfg.schedule.early_stop
    assert (stop.metric, stop.threshold, stop.allow_test) == ("test_acc", 0.95, True)
    if name == "article_rotation":
        assert {k: cfg.pretext.schedule[k] for k in expected} == expected
        assert cfg.pretext.loss == cfg.loss
        assert list(cfg.pretext.angles) == [0, 90, 180, 270]


# Of RotNet: from which epoch on the learning rate is which.
LONG = {1: 0.1, 61: 0.02, 121: 0.004, 161: 0.0008}
CONV_HEAD = {1: 0.1, 36: 0.02, 71: 0.004, 86: 0.0008}
MLP_HEAD = {1: 0.1, 21: 0.02, 41: 0.004, 46: 0.0008}  # held from 50 to 100


@pytest.mark.parametrize(
    ("name", "epochs", "expected"),
    [
        ("rotnet_supervised", 200, LONG),
        ("rotnet_conv_head", 100, CONV_HEAD),
        ("rotnet_fine_tuned", 100, CONV_HEAD),
        ("rotnet_mlp_head", 100, MLP_HEAD),
    ],
)
@pytest.mark.parametrize("turns", ["rotation", "rotation_2", "rotation_8", "none"])
def test_rotnets_parameters(compose, name, epochs, expected, turns):
    cfg = compose(f"+experiment={name}", f"pretext={turns}")
    schedules = [(cfg.schedule, epochs, expected)]
    if turns != "none" and name != "rotnet_supervised":
        schedules.append((cfg.pretext.schedule, 200, LONG))
    for node, length, rates in schedules:
        schedule = instantiate(node)
        assert (schedule.epochs, schedule.batch_size) == (length, 128)
        optimizer, scheduler = schedule.build([torch.nn.Parameter(torch.zeros(1))], 1)
        assert isinstance(optimizer, torch.optim.SGD)
        group = optimizer.param_groups[0]
        assert (group["momentum"], group["nesterov"], group["weight_decay"]) == (0.9, True, 5e-4)
        for epoch in range(1, length + 1):
            rate = rates[max(start for start in rates if start <= epoch)]
            assert group["lr"] == pytest.approx(rate), epoch
            optimizer.step()
            scheduler.step()
    assert (cfg.dataset.augment.crop_padding, cfg.dataset.augment.flip) == (4, True)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> Path:
    """A folder of 32x32 pictures: two classes, 8 to train on and 4 to test."""
    root = tmp_path_factory.mktemp("photographs")
    noise = torch.Generator().manual_seed(0)
    for split, count in (("train", 8), ("test", 4)):
        for name in ("cat", "dog"):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = torch.randint(0, 256, (32, 32, 3), generator=noise, dtype=torch.uint8)
                Image.fromarray(pixels.numpy()).save(root / split / name / f"{number}.png")
    return root


@pytest.mark.parametrize("name", sorted(p.stem for p in (CONF / "experiment").iterdir()))
def test_every_experiment_trains(run_job, compose, choices, photographs, tmp_path, name):
    sized = ["dataset.image_size=32", "dataset.train_size=8", "dataset.labels_per_class=2"]
    short = ["schedule.epochs=1", "schedule.batch_size=4"]
    short += ["pretext.schedule.epochs=1", "pretext.schedule.batch_size=4"]
    data = ["dataset=image_folder", f"dataset.root={photographs}", *sized]
    cfg = compose(f"+experiment={name}")
    model = f"model={choices(f'+experiment={name}')['model']}"
    ran = run_job(tmp_path, f"+experiment={name}", model, *data, *short)
    phases = {"downstream"} | ({"pretext"} if has_pretext(cfg) else set())
    assert set(ran.runs) == phases
    assert all(run.info.status == "FINISHED" for run in ran.runs.values())
    assert all(len(ran.history(phase)) == 1 for phase in phases)
    if name.startswith("article"):
        parameters = [v for k, v in ran.weights("downstream").items() if "running" not in k
                      and "num_batches" not in k]  # fmt: skip
        # The article's network: 11,184,650 with 10 classes, so 8 x 513 fewer with two.
        assert sum(p.numel() for p in parameters) == 11_184_650 - 8 * 513
        assert len(parameters) == 76
