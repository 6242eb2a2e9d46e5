"""How fast the report reads MLflow, against reading it run by run.

    python benchmarks/report_query.py                    all of it, about ten minutes
    python benchmarks/report_query.py --runs 200 --skip-large

Creates stores of synthetic runs (4 metrics x 200 epochs, 80 params) in a temporary folder, reads
the same data in both ways alternately, prints the ratios, and writes benchmarks/report_query.json.
`get_metric_history` is timed on a sample of the runs and extrapolated to all of them, since each of
its calls costs the same.
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
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import mlflow
import sqlalchemy
from mlflow import MlflowClient
from mlflow.store.tracking.dbmodels import models

METRICS = ("train_loss", "train_acc", "test_loss", "test_acc")
EPOCHS = 200
SAMPLE = 25
READ = """
import resource, sys, time
from ssl_rot.report import load_histories, load_runs
start = time.perf_counter()
runs = load_runs("bench", uri=sys.argv[1])
middle = time.perf_counter()
histories = load_histories(runs, ("train_loss", "train_acc", "test_loss", "test_acc"))
end = time.perf_counter()
assert len(histories) == len(runs) * 4 * 200, (len(histories), len(runs))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(middle - start, end - middle, peak)
"""


def fill(path: Path, runs: int) -> str:
    """A SQLite store with synthetic runs, written directly: MLflow would take an hour."""
    uri = f"sqlite:///{path}"
    experiment = int(MlflowClient(uri).create_experiment("bench"))
    draw = random.Random(0)
    engine = sqlalchemy.create_engine(uri)
    with engine.begin() as connection:
        for number in range(runs):
            run_id = uuid.UUID(int=draw.getrandbits(128)).hex
            start = 1_700_000_000_000 + 1000 * number
            run = {
                "run_uuid": run_id, "name": f"run-{number}", "source_type": "LOCAL",
                "status": "FINISHED", "start_time": start, "end_time": start + 900,
                "lifecycle_stage": "active", "experiment_id": experiment, "user_id": "bench",
                "artifact_uri": "", "source_name": "", "source_version": "", "entry_point_name": "",
            }  # fmt: skip
            keys = {"run_uuid": run_id}
            tags = {f"tag{i}": "x" * 20 for i in range(12)} | {"ssl_rot.phase": "downstream"}
            points = [
                keys | {"key": m, "value": draw.random(), "timestamp": start, "step": e,
                        "is_nan": False}
                for m in METRICS for e in range(1, EPOCHS + 1)
            ]  # fmt: skip
            for table, rows in (
                (models.SqlRun, [run]),
                (
                    models.SqlParam,
                    [keys | {"key": f"group.key{i}", "value": str(i)} for i in range(80)],
                ),
                (models.SqlTag, [keys | {"key": k, "value": v} for k, v in tags.items()]),
                (models.SqlMetric, points),
                (models.SqlLatestMetric, [p for p in points if p["step"] == EPOCHS]),
            ):
                connection.execute(sqlalchemy.insert(table), rows)
    engine.dispose()
    return uri


@contextmanager
def server(folder: Path, uri: str, workers: int) -> Iterator[str]:
    """A tracking server on top of a store."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--workers", str(workers)]
    command += ["--port", str(port), "--backend-store-uri", uri]
    command += ["--default-artifact-root", str(folder / "artifacts")]
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
            except (URLError, OSError):
                time.sleep(0.5)
        yield address
    finally:
        process.terminate()
        process.wait()


def ours(uri: str) -> dict[str, float]:
    """The report's method, in a fresh process so that the peak memory is its own."""
    done = subprocess.run(
        [sys.executable, "-c", READ, uri], capture_output=True, text=True, check=True
    )
    runs, histories, peak = map(float, done.stdout.split())
    return {"runs": runs, "histories": histories, "peak_gib": peak}


def theirs(uri: str, count: int) -> dict[str, float]:
    """MLflow's method: search the runs, then fetch each metric of each run."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("bench")
    start = time.perf_counter()
    found = []
    token = None
    while True:
        page = client.search_runs([experiment.experiment_id], max_results=1000, page_token=token)
        found += page
        token = page.token
        if not token:
            break
    middle = time.perf_counter()
    sample = random.Random(1).sample(found, min(SAMPLE, count))
    for run in sample:
        for metric in METRICS:
            assert len(client.get_metric_history(run.info.run_id, metric)) == EPOCHS
    end = time.perf_counter()
    return {"runs": middle - start, "histories": (end - middle) * count / len(sample)}


def in_turn(
    repeats: int, one: Callable[[], dict[str, float]], other: Callable[[], dict[str, float]]
) -> dict[str, object]:
    """Both methods alternately, so that other load on the machine affects both."""
    pairs = [(one(), other()) for _ in range(repeats)]
    result: dict[str, object] = {"ours": [a for a, _ in pairs], "run_by_run": [b for _, b in pairs]}
    for name, parts in (("histories", ("histories",)), ("all", ("runs", "histories"))):
        ratios = [sum(b[p] for p in parts) / sum(a[p] for p in parts) for a, b in pairs]
        result[f"ratio_{name}"] = {
            "median": round(statistics.median(ratios), 1),
            "low": round(min(ratios), 1),
            "high": round(max(ratios), 1),
        }
    return result


def summary(name: str, result: dict[str, object]) -> str:
    lines = [name]
    for way in ("ours", "run_by_run"):
        seconds = [r["runs"] + r["histories"] for r in result[way]]
        histories = [r["histories"] for r in result[way]]
        lines.append(
            f"  {way:<11} {statistics.median(seconds):8.2f} s "
            f"({min(seconds):.2f} to {max(seconds):.2f}), histories among them "
            f"{statistics.median(histories):.2f} s"
        )
    for name, key in (("histories", "ratio_histories"), ("all", "ratio_all")):
        ratio = result[key]
        lines.append(
            f"  {name:<11} {ratio['median']:8.1f} times faster ({ratio['low']} to {ratio['high']})"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--workers", type=int, default=4, help="of the server (MLflow's default: 4)"
    )
    parser.add_argument("--skip-http", action="store_true")
    parser.add_argument(
        "--skip-large", action="store_true", help="skip the store with ten times the runs"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()
    results: dict[str, object] = {
        "runs": args.runs, "metrics": len(METRICS), "epochs": EPOCHS, "cpus": os.cpu_count(),
        "mlflow": mlflow.__version__, "python": platform.python_version(),
        "load_at_start": os.getloadavg()[0],
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        uri = fill(folder / "small.db", args.runs)
        sqlite = in_turn(args.repeats, lambda: ours(uri), lambda: theirs(uri, args.runs))
        results["sqlite"] = sqlite
        print(
            summary(f"SQLite, {args.runs} runs x {len(METRICS)} metrics x {EPOCHS} epochs", sqlite)
        )
        if not args.skip_http:
            with server(folder, uri, args.workers) as address:
                repeats = max(3, args.repeats // 2)
                http = in_turn(repeats, lambda: ours(address), lambda: theirs(address, args.runs))
            results["http"] = http
            print(summary(f"HTTP, {args.workers} workers, the same store", http), flush=True)
        if not args.skip_large:
            large = fill(folder / "large.db", 10 * args.runs)
            ratios, measured = [], []
            for _ in range(3):
                small_one, large_one = ours(uri), ours(large)
                measured.append(large_one)
                ratios.append(
                    (large_one["runs"] + large_one["histories"])
                    / (small_one["runs"] + small_one["histories"])
                )
            results["large"] = {"ours": measured, "ratio_to_small": [round(r, 1) for r in ratios]}
            seconds = statistics.median(m["runs"] + m["histories"] for m in measured)
            print(
                f"SQLite, {10 * args.runs} runs: {seconds:.1f} s, "
                f"{statistics.median(ratios):.1f} times the time of {args.runs} "
                f"({min(ratios):.1f} to {max(ratios):.1f}); "
                f"peak {max(m['peak_gib'] for m in measured):.2f} GiB"
            )
    results["load_at_end"] = os.getloadavg()[0]
    args.out.write_text(json.dumps(results, indent=1) + "\n")
    print(args.out)


if __name__ == "__main__":
    main()
