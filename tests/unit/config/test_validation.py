"""Faults in a config: every one is told, with its key, its value, and what is allowed."""

from __future__ import annotations

import pytest

from ssl_rot.config.params import flatten
from ssl_rot.config.validation import validate
from ssl_rot.errors import ConfigError

MISSPELT = [
    ("+sed=1", "sed is not a known key; did you mean seed?"),
    ("+tracking.name=x", "tracking.name is not a known key; allowed: experiment_name"),
    ("+checkpoint.evry=1", "checkpoint.evry is not a known key; allowed: every, keep"),
    ("+dataset.labels_per_clas=1", "did you mean labels_per_class?"),
    ("+dataset.source.image_sise=8", "did you mean image_size?"),
    ("+dataset.augment.flp=true", "did you mean flip?"),
    ("+model.with=[4]", "did you mean widths?"),
    ("+head.innit=xavier", "did you mean init?"),
    ("+loss.label_smothing=0.1", "did you mean label_smoothing?"),
    ("+schedule.epoch=1", "did you mean epochs?"),
    ("+schedule.optimizer.momntum=0.9", "did you mean momentum?"),
    ("+schedule.scheduler.pct_strt=0.1", "did you mean pct_start?"),
    ("+schedule.early_stop.treshold=1", "did you mean threshold?"),
    ("+freeze.every=2", "freeze.every is not a key of ssl_rot.freeze.FreezeNothing; allowed: none"),
    ("+pretext.angle=[0]", "did you mean angles?"),
    ("+pretext.loss.label_smothing=0.1", "did you mean label_smoothing?"),
    ("+pretext.schedule.epoch=1", "did you mean epochs?"),
    ("+pretext.schedule.optimizer.momntum=0.9", "did you mean momentum?"),
    # What the program itself gives is no key either: it would be overridden without a word.
    ("+dataset.seed=3", "dataset.seed is not a key"),
    ("+model.in_channels=3", "model.in_channels is not a key"),
    ("+head.num_classes=3", "head.num_classes is not a key"),
]

OUT_OF_RANGE = [
    *(("seed", value) for value in ("-1", "1.5", "null", "true", "4294967296")),
    *(("device", value) for value in ("gpu", "null", "0")),
    *(("precision", value) for value in ("fp16", "null")),
    ("tracking.experiment_name", "''"),
    ("tracking.experiment_name", "null"),
    ("tracking.uri", "5"),
    *(("dataset.labels_per_class", value) for value in ("0", "-1", "1.5", "all")),
    *(("dataset.val_fraction", value) for value in ("1", "-0.1", "nan", "null", "x")),
    *(("dataset.val_per_class", value) for value in ("0", "5", "1.5", "x")),
    *(("dataset.train_size", value) for value in ("0", "2.5")),
    *(("dataset.image_size", value) for value in ("3", "4097", "null", "8.0")),
    *(("dataset.mean", value) for value in ("[]", "[-1]", "0.5", "[nan]")),
    *(("dataset.std", value) for value in ("[0]", "[inf]", "[]")),
    *(("dataset.augment.crop_padding", value) for value in ("-1", "65", "1.5")),
    *(("dataset.augment.flip", value) for value in ("1", "maybe", "null")),
    *(("dataset.source", "null"), ("dataset.augment", "null")),
    *(("model.init", value) for value in ("he", "null")),
    ("head.init", "he"),
    ("model.weights", "''"),
    ("model.weights", "5"),
    *(("pretext.angles", value) for value in ("[0]", "[0,30]", "[0,360]", "[0,0.5]", "null", "90")),
    *(("pretext.seed", value) for value in ("-1", "1.5", "4294967296")),
    ("pretext.reuse", "null"),
    ("pretext.schedule", "null"),
    ("pretext.loss", "null"),
    *(
        (f"{phase}.{key}", value)
        for phase in ("schedule", "pretext.schedule")
        for key, values in {
            "epochs": ("0", "-3", "1.5", "true", "null"),
            "batch_size": ("0", "2.5", "null"),
            "lr": ("0", "-0.1", "nan", "inf", "fast", "null"),
            "momentum": ("1", "-0.1", "nan"),
            "weight_decay": ("-0.1", "nan", "inf"),
            "interval": ("batch", "null"),
            "optimizer": ("null",),
            "early_stop": ("null",),
            "early_stop.threshold": ("-1", "nan"),
            "early_stop.allow_test": ("null",),
        }.items()
        for value in values
    ),
    ("tracking", "x"),
    ("checkpoint", "x"),
    *(("checkpoint.every", value) for value in ("0", "1.5")),
    ("checkpoint.keep", "0"),
    ("resume", "maybe"),
]

OTHERS = [
    # (overrides, all of the fragments that must be told)
    (["dataset=image_folder"], ["dataset.root is not set; give it with dataset.root=..."]),
    (["freeze=through"], ["freeze.stage is not set"]),
    (["~seed"], ["seed is not set"]),
    (["~tracking"], ["tracking is not set"]),
    (["~model"], ["model=None is not an option of the group"]),
    (["~schedule.lr"], ["schedule.optimizer.lr", "lr"]),
    (["~model.large_stem"], ["model.large_stem is not set, and ssl_rot.models.resnet needs it"]),
    (["schedule.lr=${nothing}"], ["schedule.lr", "nothing"]),
    (["freeze=through", "freeze.stage=stage9"],
     ["freeze.stage=stage9", "stem, stage1, stage2, stage3"]),
    (["model.cut=stage9"], ["model.cut=stage9", "stem, stage1, stage2, stage3"]),
    (["model=nin", "model.cut=stage1"], ["model.cut=stage1", "block1, block2, block3, block4"]),
    # What is cut off cannot be frozen.
    (["model.cut=stage1", "freeze=through", "freeze.stage=stage2"],
     ["freeze.stage=stage2", "a stage of the model: stem, stage1"]),
    (["freeze=gradual", "freeze.every=0"], ["freeze.every=0", "at least 1"]),
    (["model=nin", "model.num_blocks=6"], ["model.num_blocks=6", "from 3 to 5"]),
    (["model=nin", "model.num_blocks=2"], ["model.num_blocks=2", "from 3 to 5"]),
    (["model.widths=[16,0,64]"], ["model.widths=[16, 0, 64]", "at least 1"]),
    (["model.widths=[]", "model.blocks=[]"], ["model.widths=[]", "one positive number"]),
    (["model=timm", "model.image_size=0"], ["model.image_size=0", "at least 1, or null"]),
    (["model.init=he"], ["model.init=he", "default or xavier"]),
    (["head.init=he"], ["head.init=he", "default or xavier"]),
    (["model.blocks=[1]"], ["model.blocks=[1]"]),
    (["model=timm", "model.name=resnet999"], ["model.name=resnet999", "no such model"]),
    (["model=timm", "model.pretrained=true", "model.init=xavier"], ["model.init=xavier"]),
    (["model=timm", "model.name=convnext_atto", "dataset.image_size=8"],
     ["dataset.image_size=8 does not suit the model (", "Kernel size", "try a larger one"]),
    (["model=timm", "model.name=vit_tiny_patch16_224"],
     ["model.image_size=224, but the images have 16x16 pixels"]),
    (["model._target_=nowhere.net"], ["model._target_=nowhere.net cannot be imported"]),
    (["head=mlp", "head.hidden=0"], ["head.hidden=0", "at least 1"]),
    (["head=mlp", "head.pool=0"], ["head.pool=0", "at least 1"]),
    (["head=conv", "head.width=0"], ["head.width=0", "at least 1"]),
    *((["loss=focal", f"loss.alpha={value}"], [f"loss.alpha={value}", "greater than 0"])
      for value in ("0.0", "-1.0", "nan")),
    *((["loss=focal", f"loss.gamma={value}"], [f"loss.gamma={value}", "at least 0"])
      for value in ("-0.1", "inf")),
    (["loss=label_smoothing", "loss.label_smoothing=1"], ["loss.label_smoothing=1"]),
    (["schedule=onecycle", "schedule.scheduler.pct_start=2"], ["schedule", "pct_start"]),
    (["+schedule.optimizer.nesterov=true", "schedule.momentum=0"], ["schedule", "Nesterov"]),
    (["dataset=cifar10", "dataset.root=null"], ["dataset.root=null", "a folder"]),
    (["schedule.early_stop.metric=val_acc", "schedule.early_stop.threshold=0.9"],
     ["needs a validation split", "dataset.val_fraction=0"]),
    (["dataset.val_fraction=0.1", "dataset.val_per_class=2"],
     ["dataset.val_per_class=2 is not allowed beside dataset.val_fraction=0.1"]),
    (["dataset.val_per_class=3", "dataset.labels_per_class=3"],
     ["dataset.val_per_class=3", "less than dataset.labels_per_class=3"]),
    # The pretext task trains on these validation images.
    (["dataset.val_per_class=2", "pretext.schedule.early_stop.metric=val_acc",
      "pretext.schedule.early_stop.threshold=0.9"],
     ["pretext.schedule.early_stop.metric=val_acc", "needs a validation split"]),
    (["schedule.early_stop.metric=val_acc", "dataset.val_fraction=0.1"],
     ["schedule.early_stop.threshold=null"]),
    (["pretext.schedule.early_stop.metric=test_acc", "dataset.val_fraction=0.1",
      "pretext.schedule.early_stop.threshold=0.9"],
     ["pretext.schedule.early_stop.metric=test_acc", "val_loss, val_acc"]),
]  # fmt: skip

ALLOWED = [
    ["schedule.scheduler=null"],
    ["schedule.epochs=1", "schedule.scheduler.pct_start=0.1"],
    ["dataset.labels_per_class=null", "dataset.train_size=null"],
    ["dataset.val_fraction=0.5", "schedule.early_stop.metric=val_loss",
     "schedule.early_stop.threshold=0"],
    ["dataset.val_per_class=2", "schedule.early_stop.metric=val_acc",
     "schedule.early_stop.threshold=0.9"],
    ["dataset.labels_per_class=null", "dataset.val_per_class=20"],
    ["dataset.mean=[0.5]", "dataset.std=[0.25]"],
    ["pretext=rotation_2", "pretext.angles=[90,270]"],
    ["pretext=rotation", "pretext.angles=[-90,0,90]"],
    ["pretext=none", "pretext.schedule.epochs=2"],
    ["model.cut=stem", "freeze=through", "freeze.stage=stem"],
    # Only what is trained has to process the images.
    ["pretext=none", "model=timm", "model.name=convnext_atto", "dataset.image_size=8",
     "model.cut=stage1"],
    ["loss=focal", "loss.gamma=0"],
    ["+schedule.optimizer.nesterov=true"],
    ["schedule@pretext.schedule=step"],
    ["seed=4294967295"],
]  # fmt: skip


def faults_of(cfg) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        validate(cfg)
    return caught.value.faults


@pytest.mark.parametrize(("override", "fragment"), MISSPELT, ids=lambda v: str(v)[:40])
def test_a_misspelt_key_is_refused_in_every_group_and_below(compose, override, fragment):
    (fault,) = faults_of(compose("+experiment=rotation", override))
    assert fault.startswith(override.lstrip("+").partition("=")[0] + " is ")
    assert fragment in fault


@pytest.mark.parametrize(("key", "value"), OUT_OF_RANGE, ids=str)
def test_a_value_out_of_range_is_refused(compose, key, value):
    faults = faults_of(compose("+experiment=rotation", f"{key}={value}"))
    shown = "" if value == "''" else value.replace(",", ", ")
    matching = [fault for fault in faults if fault.startswith(f"{key}={shown} is not allowed")]
    assert len(matching) == 1
    assert "; it must be " in matching[0] or "no such device" in matching[0]


@pytest.mark.parametrize(("overrides", "fragments"), OTHERS, ids=lambda v: " ".join(v)[:60])
def test_other_faults(compose, overrides, fragments):
    (fault,) = faults_of(compose(*overrides))
    assert all(fragment in fault for fragment in fragments), fault
    assert "\n" not in fault


@pytest.mark.parametrize("overrides", ALLOWED, ids=" ".join)
def test_what_is_allowed_passes(compose, overrides):
    config = validate(compose(*overrides))
    assert not any("${" in str(value) for value in flatten(config).values())


def test_all_faults_are_reported_together(compose):
    wrong = {
        "seed": "-1",
        "+dataset.foo": "1",
        "schedule.lr": "0",
        "pretext.schedule.epochs": "0",
        "pretext.angles": "[0,10]",
        "loss.alpha": "0.0",
        "loss.gamma": "-1.0",
        "+schedule.optimizer.bar": "1",
    }
    options = ("freeze=through", "loss=focal", "pretext=rotation")
    cfg = compose(*options, *(f"{key}={value}" for key, value in wrong.items()))
    with pytest.raises(ConfigError) as caught:
        validate(cfg)
    message = str(caught.value)
    assert message.startswith("The config has 9 faults; nothing was started:\n")
    for key in (*wrong, "freeze.stage"):
        assert message.count(f"\n  - {key.lstrip('+')}") == 1, key


def test_a_key_that_is_not_set_hides_no_other_fault(compose):
    faults = faults_of(compose("dataset=image_folder", "seed=-1"))
    assert [fault.split(" ")[0] for fault in faults] == ["dataset.root", "seed=-1"]


def test_several_missing_stages_are_reported_together(compose):
    faults = faults_of(compose("model.cut=a", "freeze=through", "freeze.stage=b"))
    assert [fault.split(" ")[0] for fault in faults] == ["model.cut=a", "freeze.stage=b"]


def test_validation_leaves_the_config_as_it_was(compose):
    cfg = compose("dataset=image_folder")
    before = cfg.copy()
    faults_of(cfg)
    assert cfg == before


def test_flatten_keeps_lists_and_dots_keys():
    assert flatten({"a": {"b": 1, "c": {"d": [1, 2]}}, "e": None}) == {
        "a.b": 1,
        "a.c.d": [1, 2],
        "e": None,
    }


def test_a_model_that_reads_values_while_it_is_built_is_not_refused(compose, own_module):
    own_module(
        "own_depth",
        "import torch\n"
        "from torch import nn\n"
        "from ssl_rot.models import StagedBackbone\n"
        "def net(in_channels):\n"
        "    rates = [rate.item() for rate in torch.linspace(0, 0.1, 2)]\n"
        "    stages = {f's{i}': nn.Sequential(nn.Conv2d(in_channels if i == 0 else 4, 4, 3),\n"
        "                                     nn.Dropout(rate)) for i, rate in enumerate(rates)}\n"
        "    return StagedBackbone(stages, [4, 4])\n",
    )
    cfg = compose("freeze=through", "freeze.stage=s1")
    cfg.model = {"_target_": "own_depth.net", "init": "default", "weights": None, "cut": None}
    assert validate(cfg)["model"]["_target_"] == "own_depth.net"
    cfg.freeze.stage = "s9"
    assert "s0, s1" in faults_of(cfg)[0]
