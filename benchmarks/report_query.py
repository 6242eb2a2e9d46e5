"""How fast the report reads MLflow, compared with reading the histories run by run.

    python benchmarks/report_query.py                  1,000 runs, about fifteen minutes
    python benchmarks/report_query.py --runs 200

Logs made-up runs (4 metrics x 200 epochs, 80 params) to a SQLite store in a temporary folder, reads
them alternately in both ways, from the database and through a tracking server, prints the ratios,
and writes benchmarks/report_query.json. `get_metric_history` is timed on a sample of the runs and
scaled to all of them, since each of its calls costs the same.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Param

METRICS = ("train_loss", "train_acc", "test_loss", "test_acc")
EPOCHS = 200
SAMPLE = 25
READ = f"""
import resource, sys, time
from mlflow import MlflowClient
from ssl_rot.report import load_histories, load_runs
MlflowClient(sys.argv[1]).search_experiments()  # checks the schema once, for seconds
start = time.perf_counter()
runs = load_runs(sys.argv[2], uri=sys.argv[1])
middle = time.perf_counter()
histories = load_histories(runs, {METRICS})
end = time.perf_counter()
assert len(histories) == len(runs) * {len(METRICS) * EPOCHS}, (len(histories), len(runs))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(middle - start, end - middle, peak)
"""


def fill(uri: str, experiment: str, location: str, artifacts: Path, runs: int) -> None:
    """Logs made-up runs to an experiment.

    Args:
        uri: of the store.
        experiment: to create.
        location: of its artifacts, as the store records it.
        artifacts: the folder behind ``location``.
        runs: how many.
    """
    client = MlflowClient(uri)
    experiment_id = client.create_experiment(experiment, location)
    draw = random.Random(0)
    params = [Param(f"group.key{i}", str(i)) for i in range(80)]
    tags = {f"tag{i}": "x" * 20 for i in range(12)} | {"ssl_rot.phase": "downstream"}
    for number in range(runs):
        start = 1_700_000_000_000 + 1000 * number
        run_id = client.create_run(experiment_id, start, tags, f"run-{number}").info.run_id
        table = [[draw.random() for _ in METRICS] for _ in range(EPOCHS)]
        lines = [",".join(("epoch", "timestamp", *METRICS))]
        lines += [f"{e},{start},{','.join(map(str, row))}" for e, row in enumerate(table, 1)]
        folder = artifacts / run_id / "artifacts"
        folder.mkdir(parents=True)
        (folder / "history.csv").write_text("\n".join(lines) + "\n")
        points = [
            Metric(name, value, start, epoch)
            for epoch, row in enumerate(table, 1)
            for name, value in zip(METRICS, row, strict=True)
        ]
        client.log_batch(run_id, points, params)
        client.set_terminated(run_id, end_time=start + 900)


@contextmanager
def server(folder: Path, uri: str, artifacts: Path, workers: int) -> Iterator[str]:
    """A tracking server over a store, which also serves the artifacts."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--workers", str(workers)]
    command += ["--port", str(port), "--backend-store-uri", uri]
    command += ["--artifacts-destination", str(artifacts)]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                urlopen(f"{address}/health", timeout=1).close()
                break
            except OSError:
                time.sleep(0.5)
        yield address
    finally:
        process.terminate()
        process.wait()


def read_by_report(uri: str, experiment: str) -> dict[str, float]:
    """As the report reads, in a fresh process, whose peak memory is then its own."""
    done = subprocess.run(
        [sys.executable, "-c", READ, uri, experiment], stdout=subprocess.PIPE, text=True, check=True
    )
    runs, histories, peak = map(float, done.stdout.split())
    return {"runs": runs, "histories": histories, "peak_gib": peak}


def read_run_by_run(uri: str, experiment: str) -> dict[str, float]:
    """Searches the runs, then asks for each metric of each run."""
    client = MlflowClient(uri)
    client.search_experiments()
    ids = [client.get_experiment_by_name(experiment).experiment_id]
    start = time.perf_counter()
    found = page = client.search_runs(ids, max_results=1000)
    while page.token:
        page = client.search_runs(ids, max_results=1000, page_token=page.token)
        found += page
    middle = time.perf_counter()
    sample = random.Random(1).sample(found, min(SAMPLE, len(found)))
    for run in sample:
        for metric in METRICS:
            assert len(client.get_metric_history(run.info.run_id, metric)) == EPOCHS
    end = time.perf_counter()
    return {"runs": middle - start, "histories": (end - middle) * len(found) / len(sample)}


def compare(
    repeats: int, report: Callable[[], dict[str, float]], run_by_run: Callable[[], dict[str, float]]
) -> dict[str, object]:
    """Measures both ways alternately, so that other load on the machine affects both."""
    pairs = [(report(), run_by_run()) for _ in range(repeats)]
    result: dict[str, object] = {
        "report": [report for report, _ in pairs],
        "run_by_run": [other for _, other in pairs],
    }
    for name, parts in (("histories", ("histories",)), ("all", ("runs", "histories"))):
        ratios = [sum(b[p] for p in parts) / sum(a[p] for p in parts) for a, b in pairs]
        result[f"ratio_{name}"] = {
            "median": round(statistics.median(ratios), 1),
            "low": round(min(ratios), 1),
            "high": round(max(ratios), 1),
        }
    return result


def describe(name: str, result: dict[str, object]) -> str:
    lines = [name]
    for way in ("report", "run_by_run"):
        seconds = [r["runs"] + r["histories"] for r in result[way]]
        histories = statistics.median(r["histories"] for r in result[way])
        lines.append(
            f"  {way:<11} {statistics.median(seconds):8.2f} s "
            f"({min(seconds):.2f} to {max(seconds):.2f}), of which histories {histories:.2f} s"
        )
    for part in ("histories", "all"):
        ratio = result[f"ratio_{part}"]
        lines.append(
            f"  {part:<11} {ratio['median']:8.1f} times faster ({ratio['low']} to {ratio['high']})"
        )
    lines.append(f"  peak memory {max(r['peak_gib'] for r in result['report']):8.2f} GiB")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--workers", type=int, default=4, help="of the server; MLflow's default is 4"
    )
    parser.add_argument("--skip-http", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()
    results: dict[str, object] = {
        "runs": args.runs, "metrics": len(METRICS), "epochs": EPOCHS, "cpus": os.cpu_count(),
        "mlflow": mlflow.__version__, "python": platform.python_version(),
        "load_at_start": os.getloadavg()[0],
    }  # fmt: skip

    def measure(name: str, uri: str, experiment: str) -> None:
        result = compare(
            args.repeats,
            lambda: read_by_report(uri, experiment),
            lambda: read_run_by_run(uri, experiment),
        )
        results[experiment] = result
        title = f"{name}, {args.runs} runs x {len(METRICS)} metrics x {EPOCHS} epochs"
        print(describe(title, result), flush=True)

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        uri = f"sqlite:///{folder}/mlflow.db"
        local, served = folder / "local", folder / "served"
        fill(uri, "sqlite", local.as_uri(), local, args.runs)
        measure("SQLite", uri, "sqlite")
        if not args.skip_http:
            fill(uri, "http", "mlflow-artifacts:/", served, args.runs)
            with server(folder, uri, served, args.workers) as address:
                measure(f"HTTP, {args.workers} workers", address, "http")
    results["load_at_end"] = os.getloadavg()[0]
    args.out.write_text(json.dumps(results, indent=1) + "\n")
    print(args.out)


if __name__ == "__main__":
    main()
