"""``python -m ssl_rot.report``: load, pair, compare, render."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import hydra
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ssl_rot.config.paths import conf_dir
from ssl_rot.errors import EXIT_STATUS, ConfigError, UserError, as_text, without_password


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
    by: list[str] | None = MISSING
    where: str = MISSING
    since: str | None = MISSING
    out: str = MISSING
    log: bool = MISSING
    tracking: Tracking = MISSING


def report(cfg: DictConfig, own_command: str = "python -m ssl_rot.report") -> Path:
    """Writes the report of ``conf/report.yaml``, prints a short version, and returns its page.

    The page names ``own_command`` as its origin.

    Raises:
        UserError: an option is not allowed, the runs cannot be read, or cannot be compared.
    """
    options = _check_options(cfg)
    # MLflow, pandas and scipy take seconds to import, and --help needs none of them.
    from ssl_rot.report.comparison.cell_statistics import compare
    from ssl_rot.report.comparison.exclusions import exclude_incomplete_seeds
    from ssl_rot.report.comparison.pairing import check_metric, pair_runs
    from ssl_rot.report.comparison.published import against_published
    from ssl_rot.report.load.histories import COSTS, CURVES, load_histories
    from ssl_rot.report.load.runs import find_sweep, load_runs
    from ssl_rot.report.load.store import publish
    from ssl_rot.report.page import report_tables as tables
    from ssl_rot.report.page.headline import write_headline
    from ssl_rot.report.page.rendering import write_report

    name, where, since, by = options.experiment_name, options.where, options.since, options.by
    runs = load_runs(name, where=where, since=since, uri=options.tracking.uri)
    check_metric(runs, options.metric)
    sweep = find_sweep(runs) if options.log else None
    histories = load_histories(runs, list(dict.fromkeys([*CURVES, *COSTS, options.metric])))
    pairs = pair_runs(
        runs,
        histories,
        options.metric,
        reference=options.reference,
        contrasts=options.contrasts,
    )
    pairs = exclude_incomplete_seeds(pairs, by)
    cells = compare(pairs, by)
    scope = (
        f"Experiment {name or 'any'} in {without_password(runs.attrs['uri'])}"
        + (f", where {where}" if where else "")
        + (f", since {since}" if since is not None else "")
        + f": {(pairs['left_out'] == '').sum()} pairs in {len(cells)} cells."
    )
    out = _make_folder(options.out)
    own_command = without_password(own_command)
    written = write_report(runs, histories, pairs, cells, out, scope=scope, own_command=own_command)
    if sweep is not None:
        publish(runs.attrs["uri"], sweep, out, written)

    print(f"{write_headline(cells)}\n{scope}\n")
    if len(cells) > 0:
        print(tables.verdict_table(cells).to_text())
    published = tables.published_table(against_published(runs))
    if published.rows:
        print(f"\nCompared with published results:\n{published.to_text()}")
    for title, column in (("Left out", "left_out"), ("Remarks", "remark")):
        counts = tables.count_values(text for text in pairs[column] if text)
        if counts:
            print(f"\n{title} ({sum(count for _, count in counts)}):")
        for text, count in counts:
            print(f"  {count} x {text}")
    print(f"\n{written[0]}")
    return written[0]


def _check_options(cfg: DictConfig) -> Options:
    """The options; a number is taken for the name that it spells."""
    if isinstance(cfg.by, str):
        cfg.by = [cfg.by]
    try:
        options = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Options), cfg))
    except OmegaConfBaseException as error:
        key = error.full_key or "tracking"
        value = as_text(OmegaConf.select(cfg, key))
    else:
        assert isinstance(options, Options)
        if options.by != []:
            return options
        key, value = "by", "[]"
    kinds = {
        "by": "a list of config keys, or null",
        "log": "true or false",
        "tracking": "a node with uri",
    }
    allowed = kinds.get(key, "a text")
    raise ConfigError([f"{key}={value} is not allowed; it must be {allowed}"])


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


@hydra.main(version_base="1.3", config_path=conf_dir(), config_name="report")
def _task(cfg: DictConfig) -> None:
    try:
        report(cfg, shlex.join(["python", "-m", "ssl_rot.report", *sys.argv[1:]]))
        sys.stdout.flush()
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(EXIT_STATUS)
    except BrokenPipeError:  # as with `| head`; by now all files are written
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main() -> None:
    """The console script ``ssl-rot-report``."""
    sys.argv[1:] = [_quote_filter(argument) for argument in sys.argv[1:]]
    try:
        _task()
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
