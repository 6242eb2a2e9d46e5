"""Bad inputs, one table: what is typed, and what the one message says. Every group among them."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from ssl_rot.config.params import flatten

FOLDER = "dataset=image_folder dataset.root=. "
HUB = "dataset=huggingface dataset.path=nowhere.parquet "

# The last word is the fault; the message repeats it, or says the fragment after the bar.
TABLE = """
seed=-1
seed=4294967296
seed=1.5
seed=null
seed=true
tune_seeds=0
device=gpu
precision=fp16
compile=1
profile=yes
figures=maybe | must be auto, true or false
figures=null
log_model=some | must be best, all or none
log_model=true
log_model=null
sync_batchnorm=2
floors=2
monitor=[speed] | monitor=['speed']
monitor=knn
monitor=[knn] | monitor=[knn] needs a validation split
monitoring.every=0
monitoring.split=train
monitoring=1
resume=1
system_metrics=2
dry_run=maybe
checkpoint.every=0
checkpoint.every=null
checkpoint.keep=0
checkpoint=1
tracking.experiment_name=null
tracking.uri=1
tracking.parent_run_id=1
tracking=1
dataset.name=null
dataset.root=1
dataset.image_size=3
dataset.image_size=5000
dataset.labels_per_class=0
dataset.labels_per_class=-3
dataset.labels_per_class=some
dataset.label_fraction=0
dataset.label_fraction=1
dataset.label_fraction=some
dataset.label_fraction=0.1 | beside dataset.labels_per_class=5; set one of them to null
dataset.val_fraction=1
dataset.val_fraction=-0.1
dataset.val_per_class=0
dataset.val_per_class=some
dataset.val_per_class=5
dataset.val_fraction=0.2 dataset.val_per_class=2
dataset.train_size=0
dataset.mean=grey
dataset.std=[0] | dataset.std=[0]
dataset.augment.crop_padding=65
dataset.augment.flip=1
dataset.augment=1
dataset.source=1
{folder}dataset.source.root=1
{folder}dataset.test_fraction=1
{folder}dataset.test_fraction=0
{folder}dataset.skip_bad=2
{folder}dataset.unlabelled=3
{folder}dataset.labels=1
{hub}dataset.path=1
{hub}dataset.source.path=1
{hub}dataset.image=1
{hub}dataset.label=null
{hub}dataset.train_split=null
{hub}dataset.test_split=1
{hub}dataset.unlabelled=1
{hub}dataset.configuration=1
{hub}dataset.test_fraction=2
{hub}dataset.skip_bad=no
model=nin model.num_blocks=2
model=timm model.pretrained=x
model=timm model.image_size=0
model.bias=3
model.large_stem=x
model.shortcut_norm=x
model.init=kaiming
model.weights=1
model.cut=stage9
model.widths=[] | model.widths=[] and
model.widths=[4,8] | model.widths=[4, 8] and
model.blocks=[1] | and model.blocks=[1]
model=timm model.name=resnetten | resnetten
head=conv head.width=0 | head
head.init=zeros
head=mlp head.hidden=0 | head
head=mlp head.pool=0 | head
loss=focal loss.alpha=0
loss=focal loss.gamma=-1
loss=label_smoothing loss.label_smoothing=1
schedule.epochs=0
schedule.epochs=1.5
schedule.batch_size=-1
schedule.match_images=1
pretext.schedule.match_images=true
dataset.augment.policy=auto
schedule.lr=0
schedule.lr=nan
schedule.lr=inf
schedule.momentum=1
schedule.weight_decay=-1
schedule.optimizer.lr=-1 | schedule cannot be built
schedule.optimizer=sgd
schedule.interval=day
schedule.scheduler.pct_start=2 | schedule cannot be built
schedule.scheduler.max_lr=none | schedule cannot be built
schedule.scheduler.epochs=0 | schedule cannot be built
schedule.scheduler.cycle_momentum=3
schedule=constant schedule.scheduler=1
schedule=cosine schedule.scheduler.T_max=0
schedule=cosine schedule.scheduler.T_max=x
schedule=step schedule.scheduler.gamma=-1
schedule=step schedule.scheduler.gamma=x
schedule=step schedule.scheduler.milestones=x
schedule=step schedule.scheduler.milestones=[x] | schedule.scheduler.milestones=['x']
schedule.early_stop.metric=speed
schedule.early_stop.threshold=-1
schedule.early_stop.allow_test=2
freeze=gradual freeze.every=0
freeze=through | freeze.stage is not set
freeze=through freeze.stage=stage9
pretext.name=supervised
pretext.name=1
pretext=simclr pretext.temperature=0
pretext=simclr pretext.projection=0
pretext=simclr pretext.crop=0
pretext=simclr pretext.jitter=-1
pretext=simclr pretext.grayscale=1
pretext=simclr pretext.flip=1
pretext=random_targets pretext.classes=1
pretext=weights | pretext.source is not set
pretext=weights pretext.source=1
pretext=rotation pretext.angles=[0] | pretext.angles=[0]
pretext=rotation pretext.angles=[0,360] | pretext.angles=[0, 360]
pretext=rotation pretext.angles=[0,30] | pretext.angles=[0, 30]
pretext.seed=-1
pretext.seed=x
pretext.reuse=1
pretext.loss=1
pretext.schedule=1
pretext.schedule.epochs=0
pretext.schedule.batch_size=0
pretext.schedule.lr=-1
pretext.schedule.momentum=2
pretext.schedule.weight_decay=-1
pretext.schedule.interval=1
pretext=rotation pretext.schedule.scheduler.pct_start=2 | pretext.schedule cannot be built
pretext.schedule.scheduler.cycle_momentum=3
pretext.schedule.early_stop.metric=test_acc
pretext.schedule.early_stop.threshold=-1
pretext.schedule.early_stop.allow_test=1
+schedule.foo=1 | schedule.foo
+loss.weigth=1 | loss.weigth
+foo=1 | foo is not a known key
""".strip().splitlines()


@pytest.mark.parametrize("row", TABLE)
def test_a_bad_input(call_main, tmp_path, row):
    typed, _, said = row.format(folder=FOLDER, hub=HUB).partition(" | ")
    overrides = typed.split()
    status, output = call_main(*overrides)
    assert status == 2, output
    assert (said or overrides[-1]) in output
    assert "Traceback" not in output
    assert output.count("The config has") == 1
    written = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert written <= {"run.log", "config.yaml", "hydra.yaml", "overrides.yaml"}


GROUPS = ("dataset", "model", "head", "loss", "schedule", "freeze", "pretext")


def test_every_key_of_every_group_is_in_the_table(compose, checkout):
    """But for those that follow another by interpolation."""
    typed = {word.partition("=")[0] for row in TABLE for word in row.split()}
    typed = {key.removeprefix("{folder}").removeprefix("{hub}") for key in typed}
    for group in GROUPS:
        for option in (checkout / "conf" / group).glob("*.yaml"):
            config = OmegaConf.to_container(compose(f"{group}={option.stem}")[group])
            keys = {
                key
                for key, value in flatten(config, f"{group}.").items()
                if not key.rpartition(".")[2].startswith("_") and "${" not in str(value)
            }
            assert keys <= typed, f"{group}={option.stem}"


@pytest.mark.parametrize(
    ("root", "said"),
    [
        ("nowhere", "no such folder"),
        ("photograph.jpg", "no such folder"),
        ("empty", "/empty/train/<class>/<images>"),
        ("texts", "2 of 2 files cannot be decoded"),
    ],
)
def test_a_bad_folder(call_main, monkeypatch, tmp_path, root, said):
    monkeypatch.setenv("SSL_ROT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "photograph.jpg").write_bytes(b"no image")
    (tmp_path / "empty").mkdir()
    for name in ("a", "b"):
        (tmp_path / "texts" / name).mkdir(parents=True)
        (tmp_path / "texts" / name / "1.jpg").write_text("no image")
    fraction = ["dataset.test_fraction=0.5"] if root == "texts" else []
    status, output = call_main("dataset=image_folder", f"dataset.root={root}", *fraction)
    assert status == 2, output
    assert said in output
    assert output.count(f"dataset.root={root}") == 1
    assert "Traceback" not in output


def test_system_metrics_without_their_library(call_main, monkeypatch):
    monkeypatch.setattr("ssl_rot.config.validation.find_spec", lambda name: None)
    status, output = call_main("system_metrics=true")
    assert status == 2, output
    assert "system_metrics=true needs psutil" in output
    assert "pip install psutil" in output
    assert "Traceback" not in output
