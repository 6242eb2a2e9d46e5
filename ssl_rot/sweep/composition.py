"""The jobs of a sweep, composed. What they have in common is composed once.

Hydra reads and merges every file again for each job, which takes longer than training a tiny one.
The jobs of a sweep choose the same few combinations of options and differ in values.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from functools import lru_cache
from typing import Any

from hydra._internal import config_loader_impl
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ssl_rot.errors import ConfigError
from ssl_rot.sweep.plugin_checks import is_basic


class Composer:
    """Composes jobs as Hydra's ``load_sweep_config`` does.

    Args:
        config: of the sweep.
    """

    def __init__(self, config: DictConfig) -> None:
        self.config = config
        self._loader = loader = GlobalHydra.instance().config_loader()
        parser = OverridesParser.create(config_loader=loader)
        self._parse = lru_cache(maxsize=4096)(parser.parse_override)
        self._bases: dict[tuple[str, ...], DictConfig] = {}

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """The config of a job, with its ``hydra`` node."""
        if not self._can_reuse():
            return self._loader.load_sweep_config(self.config, list(overrides))
        parsed = [self._parse(text) for text in overrides]
        groups = tuple(str(item.input_line) for item in parsed if self._chooses_option(item))
        if groups not in self._bases:
            self._bases[groups] = self._loader.load_sweep_config(self.config, list(groups))
        job = deepcopy(self._bases[groups])
        values = [item for item in parsed if not self._chooses_option(item)]
        ConfigLoaderImpl._apply_overrides_to_config(values, job)
        job.hydra.overrides.task = [item.input_line for item in parsed]
        names = job.hydra.job.config.override_dirname
        job.hydra.job.override_dirname = config_loader_impl.get_overrides_dirname(
            parsed, names.exclude_keys, names.item_sep, names.kv_sep
        )
        return job

    def _can_reuse(self) -> bool:
        """Not if the config adds directories: only Hydra knows the groups in those.

        Nor in Hydra 1.4, which composes in another way.
        """
        is_known = hasattr(config_loader_impl, "get_overrides_dirname")
        is_known &= isinstance(self._loader, ConfigLoaderImpl)
        return is_known and not OmegaConf.select(self.config, "hydra.searchpath")

    def _chooses_option(self, override: Override) -> bool:
        assert isinstance(self._loader, ConfigLoaderImpl)
        is_group: bool = self._loader.repository.group_exists(override.key_or_group)
        return is_group and not isinstance(override.value(), dict)

    def sources(self, jobs: Sequence[Sequence[str]] | None) -> list[dict[str, Any]]:
        """The different ``dataset.source`` nodes of jobs, as far as they can be resolved.

        Args:
            jobs: the overrides of each; ``None`` if they are not known yet.
        """
        if jobs is None:
            configs = [self.config]
        else:
            different = {tuple(filter(self._may_change_source, job)): None for job in jobs}
            configs = [self.compose(overrides) for overrides in different]
        nodes: list[dict[str, Any]] = []
        for config in configs:
            try:
                node = OmegaConf.to_container(config.dataset.source, resolve=True)
            except OmegaConfBaseException:  # the plan says what is missing
                continue
            if isinstance(node, dict) and node not in nodes:
                nodes.append({str(key): value for key, value in node.items()})
        return nodes

    def _may_change_source(self, override: str) -> bool:
        parsed = self._parse(override)
        return self._chooses_option(parsed) or parsed.key_or_group.startswith("dataset")


def split_overrides(config: DictConfig) -> list[list[str]] | None:
    """The overrides of each job; ``None`` if the sweeper chooses its jobs as it goes.

    Raises:
        ConfigError: there is no job, or the sweeper would see the test set, or choose the luckiest
            seed, or an arm.
    """
    loader = GlobalHydra.instance().config_loader()
    params = OmegaConf.select(config, "hydra.sweeper.params") or {}
    arguments = [*(f"{key}={value}" for key, value in params.items()), *config.hydra.overrides.task]
    overrides = OverridesParser.create(config_loader=loader).parse_overrides(arguments)
    if not is_basic(config.hydra.sweeper):
        _check_search(config, overrides)
        return None
    empty = [
        f"{override.input_line} has no value, so the sweep has no job"
        for override in overrides
        if override.is_sweep_override() and not any(True for _ in override.sweep_string_iterator())
    ]
    if empty:  # a glob that no option matches
        raise ConfigError(empty)
    jobs = BasicSweeper.split_arguments(overrides, max_batch_size=None)[0]
    return [list(job) for job in jobs]


def _check_search(config: DictConfig, overrides: Sequence[Override]) -> None:
    """A sweeper that chooses by results must not see the test set, nor pick the luckiest seed."""
    faults = []
    if config.dataset.val_fraction == 0 and config.dataset.get("val_per_class") is None:
        faults.append(
            "dataset.val_fraction=0 leaves the sweeper only the test set to choose by; "
            "set dataset.val_per_class=2 or dataset.val_fraction=0.2, for example"
        )
    faults += [
        f"{override.input_line} is not allowed with this sweeper: it would pick the luckiest "
        "seed; set a single seed, and repeat the best trial with seed=range(5)"
        for override in overrides
        if override.key_or_group in ("seed", "pretext.seed") and override.is_sweep_override()
    ]
    faults += [
        f"{override.input_line} is not allowed with this sweeper: it would give one arm "
        "more trials than another; tune each arm in a sweep of its own"
        for override in overrides
        if override.key_or_group in ("pretext", "experiment") and override.is_sweep_override()
    ]
    if faults:
        raise ConfigError(faults)
