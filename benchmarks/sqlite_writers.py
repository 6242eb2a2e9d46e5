"""How long a run waits for SQLite at the end of an epoch while other runs write too.

    python benchmarks/sqlite_writers.py                one minute

Each process logs 8 metrics per epoch for 50 epochs, as fast as it can, to one mlflow.db. Prints the
median time of a call and its 95th percentile, for 1 to 16 writers.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import tempfile
import time

EPOCHS = 50


def write(uri: str, experiment: str, times: multiprocessing.Queue[list[float]]) -> None:
    """Logs one run's epochs and puts the seconds of each call into ``times``."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    client = MlflowClient(uri)
    run = client.create_run(experiment).info.run_id
    spent = []
    for epoch in range(1, EPOCHS + 1):
        metrics = [Metric(f"metric_{n}", 0.5, int(time.time() * 1000), epoch) for n in range(8)]
        began = time.perf_counter()
        client.log_batch(run, metrics=metrics)
        spent.append(time.perf_counter() - began)
    times.put(spent)


def main() -> None:
    from mlflow import MlflowClient

    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        uri = f"sqlite:///{folder}/mlflow.db"
        experiment = MlflowClient(uri).create_experiment("writers")
        context = multiprocessing.get_context("spawn")
        for writers in (1, 2, 4, 8, 16):
            times = context.Queue()
            processes = [
                context.Process(target=write, args=(uri, experiment, times)) for _ in range(writers)
            ]
            for process in processes:
                process.start()
            calls = sorted(spent for _ in processes for spent in times.get())
            for process in processes:
                process.join()
            median, slow = statistics.median(calls), calls[int(0.95 * len(calls))]
            print(
                f"{writers:>2} writers  {1000 * median:6.0f} ms  {1000 * slow:6.0f} ms", flush=True
            )


if __name__ == "__main__":
    main()
