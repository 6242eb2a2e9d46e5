"""``python -m ssl_rot.report``: load, pair, compare, render."""

from __future__ import annotations

import shlex
import signal
import sys
import tempfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import hydra
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ssl_rot.building import VERSION_BASE
from ssl_rot.config.paths import conf_dir
from ssl_rot.errors import EXIT_STATUS, ConfigError, UserError, as_text, without_password
from ssl_rot.imports import importing_much
from ssl_rot.streams import drop


@dataclass
class Tracking:
    """The node ``tracking`` of ``conf/report.yaml``."""

    uri: str | None = None


@dataclass
class Options:
    """The keys of ``conf/report.yaml``, which explains them."""

    experiment_name: str | None = MISSING
    metric: str = MISSING
    reference: str = MISSING
    contrasts: str = MISSING
    select: Any = MISSING
    by: list[str] | None = MISSING
    margin: float | None = MISSING
    interval: str = MISSING
    planned_seeds: int | None = MISSING
    where: str = MISSING
    since: str | None = MISSING
    out: str = MISSING
    log: bool = MISSING
    register: str | None = MISSING
    register_anyway: bool = MISSING
    tracking: Tracking = MISSING


def report(cfg: DictConfig, own_command: str = "python -m ssl_rot.report") -> Path:
    """Writes the report of ``conf/report.yaml``, prints a short version, and returns its page.

    The page names ``own_command`` as its origin.

    Raises:
        UserError: an option is not allowed, the runs cannot be read, or cannot be compared.
    """
    options = _check_options(cfg)
    # MLflow, pandas and scipy take seconds to import, and --help needs none of them.
    with importing_much():
        from ssl_rot.report.analysis import Question, answer
        from ssl_rot.report.load.runs import find_sweep, load_runs
        from ssl_rot.report.load.store import publish
        from ssl_rot.report.page.rendering import write_report
        from ssl_rot.report.page.short_version import write_short_version

    name, where, since = options.experiment_name, options.where, options.since
    runs = load_runs(name, where=where, since=since, uri=options.tracking.uri)
    question = Question(**{field.name: getattr(options, field.name) for field in fields(Question)})
    scope = (
        f"Experiment {name or 'any'} in {without_password(runs.attrs['uri'])}"
        + (f", where {where}" if where else "")
        + (f", since {since}" if since is not None else "")
    )
    sweep = find_sweep(runs) if options.log else None
    found = answer(runs, question, scope, without_password(own_command))
    out = _make_folder(options.out)
    written = write_report(found, out)
    if sweep is not None:
        publish(runs.attrs["uri"], sweep, out, written)
    print(f"{write_short_version(found)}\n\n{written[0]}")
    if options.register is not None:
        from ssl_rot.deploy.registry import register

        seeds, anyway = options.planned_seeds, options.register_anyway
        print(register(found, options.register, seeds, anyway=anyway))
    return written[0]


def _check_options(cfg: DictConfig) -> Options:
    """The options; a number is taken for the name that it spells."""
    for key in ("by", "select"):
        if isinstance(cfg[key], str) and cfg[key] != "auto":
            cfg[key] = [cfg[key]]
    try:
        options = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Options), cfg))
    except OmegaConfBaseException as error:
        key = error.full_key or "tracking"
        value = as_text(OmegaConf.select(cfg, key))
    else:
        assert isinstance(options, Options)
        faults = [
            ("by", options.by == []),
            ("select", options.select != "auto" and not _is_keys(options.select)),
            ("margin", options.margin is not None and not 0 < options.margin < 1),
            ("register", options.register is not None and not _is_model_name(options.register)),
            ("planned_seeds", options.planned_seeds is not None and options.planned_seeds < 1),
        ]
        if not any(is_fault for _, is_fault in faults):
            return options
        key = next(name for name, is_fault in faults if is_fault)
        value = as_text(OmegaConf.select(cfg, key))
    kinds = {
        "by": "a list of config keys, or null",
        "select": "auto, a list of config keys, or null",
        "margin": "a number greater than 0 and less than 1, or null",
        "planned_seeds": "a whole number of at least 1, or null",
        "log": "true or false",
        "register": "a name without / : ' \" that is not empty, . or .., or null",
        "register_anyway": "true or false",
        "tracking": "a node with uri",
    }
    allowed = kinds.get(key, "a string")
    raise ConfigError([f"{key}={value} is not allowed; it must be {allowed}"])


def _is_keys(select: Any) -> bool:
    """Whether it is null, or a list of at least one key."""
    if select is None:
        return True
    return isinstance(select, list) and select != [] and all(isinstance(k, str) for k in select)


def _is_model_name(name: str) -> bool:
    """Whether MLflow takes it, and its filters."""
    return name.strip() != "" and set(name).isdisjoint("/:'\"") and name not in (".", "..")


def _make_folder(out: str) -> Path:
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        fault = f"out={out} cannot be written ({error.strerror}); choose another folder"
        raise ConfigError([fault]) from error
    return folder


def _quote_filter(argument: str) -> str:
    """Quotes the value of ``where``: Hydra cannot parse a filter that is not quoted."""
    key, equals, value = argument.partition("=")
    if key != "where" or value.startswith(("'", '"')) or not value:
        return argument
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'{key}{equals}"{escaped}"'


@hydra.main(config_path=conf_dir(), config_name="report", **VERSION_BASE)
def _task(cfg: DictConfig) -> None:
    try:
        report(cfg, shlex.join(["python", "-m", "ssl_rot.report", *sys.argv[1:]]))
        sys.stdout.flush()
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(EXIT_STATUS)
    except BrokenPipeError:  # as with `| head`; by now all files are written
        drop(sys.stdout)


def main() -> None:
    """The console script ``ssl-rot-report``."""
    sys.argv[1:] = [_quote_filter(argument) for argument in sys.argv[1:]]
    try:
        _task()
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
