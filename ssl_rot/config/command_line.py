"""The command line, before Hydra parses it."""

import re
from collections.abc import Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from omegaconf import OmegaConf

from ssl_rot.config.paths import conf_dir

_NUMBER = r"[+-]?\.?\d[\w.+-]*"
_WITH_APOSTROPHE = r"[^'\",\\]+'[^\",\\]*"


def quote_name(argument: str, key: str) -> str:
    """Quotes the value of ``key`` if Hydra would change or refuse it: ``2024_01``, ``o'brien``."""
    name, equals, value = argument.partition("=")
    if name != key or not re.fullmatch(f"{_NUMBER}|{_WITH_APOSTROPHE}", value):
        return argument
    return f'{name}{equals}"{value}"'


def starts_a_sweep(arguments: Sequence[str]) -> bool:
    """Whether an option among the arguments, such as ``+sweep=rotnet_turns``, is a sweep.

    Its file says so with ``hydra.mode: MULTIRUN``. Hydra 1.4 refuses that without ``--multirun``.
    """
    package = conf_dir().removeprefix("pkg://")
    folders: list[Traversable] = [
        Path(package) if Path(package).is_dir() else resources.files(package)
    ]
    for flag, value in zip(arguments, [*arguments[1:], ""], strict=True):
        name, _, directory = flag.partition("=")
        if name in ("--config-dir", "-cd"):
            folders.append(Path(directory or value))
    options = [re.fullmatch(r"\+?([\w/-]+)=([\w/-]+)", argument) for argument in arguments]
    return any(
        _is_sweep(folder / option[1] / f"{option[2]}.yaml")
        for option in filter(None, options)
        for folder in folders
    )


def _is_sweep(file: Traversable) -> bool:
    try:
        mode = OmegaConf.select(OmegaConf.create(file.read_text()), "hydra.mode")
    except Exception:  # no such file, or one that Hydra will refuse
        return False
    return bool(mode == "MULTIRUN")
