"""What changes each of the keys by which runs are recognised, over every key of the config."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from omegaconf import OmegaConf

from ssl_rot.config.params import flatten
from ssl_rot.config.run_keys import RunKeys, compute_run_keys

ALL, PAIRED, ARM, NONE = (
    {"config", "pair", "pretext"},
    {"config", "pair"},
    {"config", "pretext"},
    set(),
)
FLOOR = {"floor"}

# The first pattern that fits says which keys change with a config key.
RULES = [
    ("tracking.*", NONE),
    ("checkpoint.*", NONE),
    ("resume", NONE),
    ("tune_seeds", NONE),
    ("dry_run", NONE),
    ("device", NONE),
    ("profile", NONE),
    ("figures", NONE),
    ("floors", NONE),
    ("system_metrics", NONE),
    ("log_model", NONE),
    ("monitor", NONE),
    ("monitoring.*", NONE),
    ("compile", NONE),  # a part of the arithmetic, which is given apart
    ("sync_batchnorm", NONE),  # likewise
    ("precision", NONE),  # "auto" is no precision; what it came to is given apart
    ("pretext.reuse", NONE),
    ("pretext.name", {"config"}),  # the weights are the same under any name
    ("pretext.*", ARM),
    # The fingerprint stands for where the data lies, and for what a CSV of labels says.
    *((f"dataset.{key}", NONE) for key in ("root", "labels", "path")),
    *((f"dataset.source.{key}", NONE) for key in ("root", "labels", "path")),
    ("dataset.name", NONE),
    ("model.weights", NONE),  # the file's hash stands for its name
    ("dataset.labels_per_class", PAIRED | FLOOR),
    ("dataset.label_fraction", PAIRED | FLOOR),
    ("dataset.val_per_class", PAIRED | FLOOR),
    ("model.cut", PAIRED),
    ("dataset.augment.policy", PAIRED),  # it is for the downstream phase alone
    *((f"dataset.{key}", ALL) for key in ("mean", "std", "augment.*")),
    ("dataset.*", ALL | FLOOR),
    ("model.*", ALL),
    ("seed", ALL | FLOOR),
    *((f"{group}.*", PAIRED) for group in ("head", "loss", "schedule", "freeze")),
]

OVERRIDES = (
    *("dataset=image_folder", "dataset.root=somewhere", "loss=focal", "head=mlp"),
    *("freeze=gradual", "schedule=step", "dataset.labels_per_class=5"),
)


def keys_of(config, **given) -> RunKeys:
    return compute_run_keys(
        config, **({"data": "d", "arithmetic": "fp32", "weights": None} | given)
    )


def changed(first: RunKeys, second: RunKeys) -> set[str]:
    names = ("config", "pair", "pretext", "content", "floor")
    return {name for name in names if getattr(first, name) != getattr(second, name)}


@pytest.fixture(scope="module")
def config(compose):
    return lambda *overrides: OmegaConf.to_container(compose(*OVERRIDES, *overrides), resolve=True)


def test_every_config_key_changes_what_it_should_and_nothing_else(config):
    base = config("+experiment=rotation")
    for key in flatten(base):
        other = OmegaConf.create(base)
        OmegaConf.update(other, key, "something else", merge=False)
        found = changed(keys_of(base), keys_of(OmegaConf.to_container(other)))
        expected = next((which for pattern, which in RULES if fnmatchcase(key, pattern)), None)
        assert expected is not None, f"{key}: no rule says which of our keys it changes"
        assert found == expected, key


@pytest.mark.parametrize(
    "given", [{"data": "e"}, {"arithmetic": "bf16"}, {"weights": "w"}], ids=str
)
def test_data_arithmetic_and_weights_change_every_key(config, given):
    base = config("+experiment=rotation")
    floor = FLOOR if "data" in given else set()
    assert changed(keys_of(base), keys_of(base, **given)) == ALL | {"content"} | floor


def test_the_images_of_a_matched_reference_are_the_partners_too(config):
    base = config("+experiment=supervised")
    assert changed(keys_of(base), keys_of(base, matched_samples=9)) == PAIRED


def test_given_weights_are_known_by_their_content_alone(config):
    base = config("pretext=weights", "pretext.source=here")
    other = config("pretext=weights", "pretext.source=there", "pretext.schedule.epochs=3", "seed=1")
    assert keys_of(base, given="a").pretext == keys_of(other, given="a").pretext
    assert changed(keys_of(base, given="a"), keys_of(base, given="b")) == ARM


def test_the_arms_are_a_pair(config):
    rotation, supervised = config("+experiment=rotation"), config("+experiment=supervised")
    assert keys_of(rotation).pair == keys_of(supervised).pair
    assert keys_of(rotation).content == keys_of(supervised).content
    assert keys_of(rotation).config != keys_of(supervised).config
    assert keys_of(supervised).pretext is None
    other = config("+experiment=rotation", "pretext=rotation_2", "pretext.schedule.epochs=3")
    assert keys_of(other).pair == keys_of(rotation).pair
    assert keys_of(other).pretext not in (None, keys_of(rotation).pretext)


def test_downstream_seeds_may_share_a_pretraining_of_its_own_seed(config):
    def keys(*overrides):
        return keys_of(config("+experiment=rotation", *overrides))

    assert keys("seed=3", "pretext.seed=3") == keys("seed=3")
    one, two = (keys(f"seed={seed}", "pretext.seed=3") for seed in (0, 1))
    assert one.pretext == two.pretext == keys("seed=3").pretext
    assert one.pair != two.pair
    assert keys("seed=0").pair == one.pair
    assert keys("seed=0").config != one.config
    # The seed also draws the images that the pretext task trains on.
    for drawn in ("dataset.train_size=50", "dataset.val_fraction=0.1"):
        one, two = (keys(f"seed={seed}", "pretext.seed=3", drawn) for seed in (0, 1))
        assert one.pretext != two.pretext


def test_settings_below_pretext_none_are_in_no_key(config):
    base = config("+experiment=supervised")
    for key in flatten(base["pretext"]):
        if key != "_target_":
            other = OmegaConf.create(base)
            OmegaConf.update(other, f"pretext.{key}", "something else", merge=False)
            assert keys_of(OmegaConf.to_container(other)) == keys_of(base), key


def test_keys_do_not_depend_on_the_order_of_the_config(config):
    base = config("+experiment=rotation")
    backwards = dict(reversed(base.items())) | {"model": dict(reversed(base["model"].items()))}
    assert keys_of(backwards) == keys_of(base)


def test_the_config_is_left_as_it_was(config):
    base = config("+experiment=rotation")
    before = OmegaConf.to_yaml(OmegaConf.create(base))
    keys_of(base)
    assert OmegaConf.to_yaml(OmegaConf.create(base)) == before


def test_a_change_to_ones_own_code_changes_the_keys(compose, own_module):
    def keys_of(text: str, group: str) -> RunKeys:
        own_module("own_code", text)
        config = OmegaConf.to_container(compose("+experiment=rotation"), resolve=True)
        config[group] = {"_target_": "own_code.thing"}
        return compute_run_keys(config, data="d", arithmetic="fp32", weights=None)

    first = keys_of("def thing():\n    return 1\n", "loss")
    assert keys_of("def thing():\n    return 1\n", "loss") == first
    second = keys_of("def thing():\n    return 22\n", "loss")
    assert second.config != first.config
    assert second.pair != first.pair
    assert second.content != first.content
    assert second.pretext == first.pretext  # the downstream loss is none of its business
    third = keys_of("def thing():\n    return 1\n", "model")
    assert keys_of("def thing():\n    return 22\n", "model").pretext != third.pretext


def test_a_floor_depends_on_the_seed_only_if_it_draws_the_images(config):
    def changes(*overrides):
        first, second = (keys_of(config(*overrides, f"seed={seed}")) for seed in (0, 1))
        return first.floor != second.floor

    everything = "dataset.labels_per_class=null"
    assert not changes(everything)
    assert changes("dataset.labels_per_class=5")
    for restriction in (
        "label_fraction=0.1",
        "val_per_class=1",
        "val_fraction=0.1",
        "train_size=50",
    ):
        assert changes(everything, f"dataset.{restriction}")


def test_a_table_is_known_by_its_content_wherever_it_lies(compose):
    def keys(*overrides):
        config = compose("+experiment=rotation", "dataset=huggingface", *overrides)
        return keys_of(OmegaConf.to_container(config, resolve=True))

    assert keys("dataset.path=here.parquet") == keys("dataset.path=there")
    other = keys("dataset.path=there", "dataset.train_split=all")
    assert changed(keys("dataset.path=there"), other) == ALL | FLOOR


def test_runs_of_before_there_was_a_label_fraction_keep_their_keys(config):
    base = config("+experiment=rotation")
    other = config("+experiment=rotation")
    del other["dataset"]["label_fraction"]
    assert changed(keys_of(base), keys_of(other)) == set()
