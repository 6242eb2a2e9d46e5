"""Jobs that are composed in one go equal those that Hydra composes one by one."""

from __future__ import annotations

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException
from hydra.types import RunMode
from omegaconf import OmegaConf

from ssl_rot.sweep.composition import Composer


@pytest.fixture
def composer(checkout):
    """A composer, and Hydra's own loader with the config of a sweep."""
    with initialize_config_dir(version_base="1.3", config_dir=str(checkout / "conf")):
        loader = GlobalHydra.instance().config_loader()
        overrides = ["seed=0,1", "hydra.launcher.slots=3"]
        config = loader.load_configuration("config", overrides, RunMode.MULTIRUN)
        yield Composer(config), lambda job: loader.load_sweep_config(config, job)


@pytest.mark.parametrize(
    "overrides",
    [
        ["+experiment=rotation", "seed=3"],
        ["schedule=step", "schedule.epochs=3", "+experiment=rotation"],
        ["schedule@pretext.schedule=step", "+foo=3", "pretext=rotation", "dataset.name=x"],
        ["~head", "seed=1"],
        ["model={_target_:a}", "++seed=3", "schedule.lr=${seed}"],
        ["tracking.experiment_name='a b'", "dataset.mean=[1,2]", "loss=focal"],
    ],
)
def test_the_same_config_as_hydras(composer, overrides):
    fast, slow = composer
    for _ in range(2):  # the second time from what the first one kept
        assert OmegaConf.to_yaml(fast.compose(overrides)) == OmegaConf.to_yaml(slow(overrides))


def test_the_same_refusal_as_hydras(composer):
    for compose in (composer[0].compose, composer[1]):
        with pytest.raises(ConfigCompositionException, match="Could not override 'scedule"):
            compose(["scedule.lr=1"])


def test_jobs_do_not_change_each_other(composer):
    first = composer[0].compose(["seed=1"])
    OmegaConf.update(first, "schedule.lr", 7)
    assert composer[0].compose(["seed=2"]).schedule.lr != 7


def test_the_sources_of_all_jobs(composer):
    jobs = [["seed=1", f"dataset={name}", f"dataset.labels_per_class={n}"]
            for name in ("digits", "cifar10") for n in (1, 2)]  # fmt: skip
    targets = [node["_target_"] for node in composer[0].sources(jobs)]
    assert targets == ["ssl_rot.data.digits", "ssl_rot.data.cifar10"]


def test_a_source_that_is_not_complete_is_left_to_the_plan(composer):
    assert composer[0].sources([["dataset=image_folder"]]) == []
