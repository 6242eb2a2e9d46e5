"""``python -m ssl_rot.report``: load, pair, compare, render."""

from __future__ import annotations

import shlex
import sys
import tempfile
from pathlib import Path

import hydra
from omegaconf import DictConfig, OmegaConf

from ssl_rot.config.paths import conf_dir
from ssl_rot.errors import EXIT_STATUS, ConfigError, UserError


def report(cfg: DictConfig, own_command: str = "python -m ssl_rot.report") -> Path:
    """Writes the report of ``conf/report.yaml``, prints a short version, and returns its page.

    The page names ``own_command`` as its origin.
    """
    # MLflow, pandas and scipy take seconds to import, and --help needs none of them.
    from ssl_rot.report.comparison.cell_statistics import compare
    from ssl_rot.report.comparison.pairing import check_metric, pair_runs
    from ssl_rot.report.comparison.published import against_published
    from ssl_rot.report.load.histories import COSTS, CURVES, load_histories
    from ssl_rot.report.load.runs import find_sweep, load_runs
    from ssl_rot.report.load.store import publish, without_password
    from ssl_rot.report.page import report_tables as tables
    from ssl_rot.report.page.headline import write_headline
    from ssl_rot.report.page.rendering import write_report

    by = _parse_keys(cfg.by)
    runs = load_runs(cfg.experiment_name, where=cfg.where, since=cfg.since, uri=cfg.tracking.uri)
    check_metric(runs, cfg.metric)
    sweep = find_sweep(runs) if cfg.log else None
    metrics = dict.fromkeys([*CURVES, *COSTS, cfg.metric])
    histories = load_histories(runs, list(metrics))
    pairs = pair_runs(runs, histories, cfg.metric)
    cells = compare(pairs, by)
    scope = (
        f"Experiment {cfg.experiment_name or 'any'} in {without_password(runs.attrs['uri'])}"
        + (f", where {cfg.where}" if cfg.where else "")
        + (f", since {cfg.since}" if cfg.since is not None else "")
        + f": {(pairs['left_out'] == '').sum()} pairs in {len(cells)} cells."
    )
    out = _make_folder(cfg.out)
    own_command = without_password(own_command)
    page = write_report(runs, histories, pairs, cells, out, scope=scope, own_command=own_command)
    if sweep is not None:
        publish(runs.attrs["uri"], sweep, out)

    print(f"{write_headline(cells)}\n{scope}\n")
    if len(cells) > 0:
        print(tables.verdict_table(cells).to_text())
    published = tables.published_table(against_published(runs))
    if published.rows:
        print(f"\nCompared with published results:\n{published.to_text()}")
    left_out = tables.left_out_table(pairs, cells)
    if left_out.rows:
        print(f"\nLeft out ({len(left_out.rows)}):")
        for reason, count in tables.count_values(row[-1].text for row in left_out.rows):
            print(f"  {count} x {reason}")
    print(f"\n{page}")
    return page


def _parse_keys(by: object) -> list[str] | None:
    if by is None or isinstance(by, str):
        return None if by is None else [by]
    keys = OmegaConf.to_container(by)
    if not isinstance(keys, list) or not keys or not all(isinstance(key, str) for key in keys):
        raise ConfigError([f"by={keys} is not allowed; it must be a list of config keys, or null"])
    return keys


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
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(EXIT_STATUS)


def main() -> None:
    """The console script ``ssl-rot-report``."""
    sys.argv[1:] = [_quote_filter(argument) for argument in sys.argv[1:]]
    _task()


if __name__ == "__main__":
    main()
