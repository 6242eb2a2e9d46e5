"""Runs with the params, tags and metrics that real runs leave in MLflow, made without training."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

PARAMS = {
    "dataset": "digits",
    "dataset._target_": "ssl_rot.data.prepare",
    "dataset.labels_per_class": "5",
    "dataset.root": "null",
    "model": "resnet_tiny",
    "model._target_": "ssl_rot.models.resnet",
    "model.weights": "null",
    "model.cut": "null",
    "head": "linear",
    "freeze": "none",
    "freeze._target_": "ssl_rot.freeze.Nothing",
    "loss": "cross_entropy",
    "loss._target_": "torch.nn.CrossEntropyLoss",
    "schedule": "onecycle",
    "schedule.lr": "0.05",
    "schedule.epochs": "10",
    "schedule.optimizer.lr": "0.05",
    "pretext.angles": "[0, 90, 180, 270]",
    "pretext.schedule.epochs": "20",
    "pretext.reuse": "true",
    "precision": "auto",
    "device": "auto",
    "tracking.experiment_name": "ssl_rot",
}
# In these tests a name stands for its content: the same name is the same data or weights.
CONTENT = ("dataset.root", "model.weights", "precision")


def digest(params: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()[:16]


@dataclass
class MadeRun:
    """One run, before it is put into a DataFrame or into MLflow."""

    name: str
    params: dict[str, str]
    tags: dict[str, str]
    metrics: dict[str, dict[int, float]]
    status: str = "FINISHED"
    run_id: str = ""
    start: int = 0


@dataclass
class Runs:
    """Makes runs and returns them the way :func:`load_runs` and :func:`load_histories` would."""

    made: list[MadeRun] = field(default_factory=list)
    epochs: int = 10

    def pretext(self, seed: int, *, acc: float = 0.8, images: int = 4000, **over: str) -> MadeRun:
        params = PARAMS | {"pretext": "rotation", "seed": str(seed)} | over
        return self._add(
            MadeRun(
                f"pretext-digits-seed{seed}",
                params,
                {"phase": "pretext", "arm": "rotation", "pretext_key": digest(params)},
                {
                    f"pretext/{name}": {e: scale * e for e in (1, 2)}
                    for name, scale in {
                        "test_acc": acc / 2,
                        "images_processed": images / 2,
                        "epoch_seconds": 1.0,
                    }.items()
                },
            )
        )

    def downstream(
        self,
        arm: str,
        seed: int,
        acc: float,
        *,
        after: MadeRun | None = None,
        status: str = "FINISHED",
        name: str | None = None,
        epochs: int | None = None,
        **over: str,
    ) -> MadeRun:
        epochs = self.epochs if epochs is None else epochs
        params = PARAMS | {"seed": str(seed), "pretext": arm}
        params |= {key.replace("__", "."): value for key, value in over.items()}
        if arm == "supervised":
            params |= {"pretext": "none", "pretext.angles": "[]"}
        shared = {
            k: v for k, v in params.items() if not k.startswith(("pretext", "tracking", "device"))
        }
        pretext = {
            k: v for k, v in params.items() if k.startswith("pretext") and arm != "supervised"
        }
        tags = {
            "phase": "downstream",
            "arm": arm,
            "pair_key": digest(shared),
            "config_key": digest(shared | pretext),
            "content_key": digest({k: params[k] for k in CONTENT}),
        }
        if after is not None:
            tags["pretext_run_id"] = after.run_id
        progress = {e: e / epochs for e in range(1, epochs + 1)}
        metrics = {
            "train_loss": {e: 2.3 * (1 - 0.9 * w) for e, w in progress.items()},
            "train_acc": {e: 0.1 + 0.9 * w * 0.99 for e, w in progress.items()},
            "test_loss": {e: 2.3 * (1 - acc * w) for e, w in progress.items()},
            "test_acc": {e: acc * w for e, w in progress.items()},
            "images_processed": {e: 50.0 * e for e in progress},
            "epoch_seconds": dict.fromkeys(progress, 0.5),
        }
        return self._add(
            MadeRun(name or f"{arm}-digits-seed{seed}", params, tags, metrics, status=status)
        )

    def arms(self, differences: list[float], base: float = 0.5, **over: str) -> None:
        """Makes one pair per difference, with seeds 0, 1, 2, ..."""
        for seed, difference in enumerate(differences):
            pretext = self.pretext(seed)
            self.downstream("rotation", seed, base + difference, after=pretext, **over)
            self.downstream("supervised", seed, base, **over)

    def _add(self, made: MadeRun) -> MadeRun:
        made.run_id = made.run_id or hashlib.md5(str(len(self.made)).encode()).hexdigest()
        made.start = 1_700_000_000_000 + 1000 * len(self.made)
        self.made.append(made)
        return made

    def frame(self) -> pd.DataFrame:
        rows: list[dict[str, Any]] = []
        for made in self.made:
            row: dict[str, Any] = {"run_id": made.run_id, "run_name": made.name}
            row |= {"status": made.status, "start_time": pd.Timestamp(made.start, unit="ms")}
            row |= {f"params.{k}": v for k, v in made.params.items()}
            row |= {f"tags.ssl_rot.{k}": v for k, v in made.tags.items()}
            row |= {f"metrics.{k}": v[max(v)] for k, v in made.metrics.items() if v}
            rows.append(row)
        return pd.DataFrame(rows)

    def histories(self) -> pd.DataFrame:
        return pd.DataFrame(
            [
                (made.run_id, metric, epoch, value)
                for made in self.made
                for metric, values in made.metrics.items()
                for epoch, value in values.items()
            ],
            columns=["run_id", "metric", "epoch", "value"],
        )

    def write(
        self, uri: str, experiment: str = "ssl_rot", parent: str | None = None
    ) -> MlflowClient:
        """Writes the runs into an MLflow store."""
        client = MlflowClient(uri)
        found = client.get_experiment_by_name(experiment)
        where = found.experiment_id if found else client.create_experiment(experiment)
        ids: dict[str, str] = {}
        for made in self.made:
            tags = {f"ssl_rot.{k}": ids.get(v, v) for k, v in made.tags.items()}
            if parent is not None:
                tags["mlflow.parentRunId"] = parent
            run = client.create_run(where, made.start, tags, made.name)
            ids[made.run_id] = run.info.run_id
            client.log_batch(
                run.info.run_id,
                [
                    Metric(m, v, made.start, e)
                    for m, vs in made.metrics.items()
                    for e, v in vs.items()
                ],
                [Param(k, v) for k, v in made.params.items()],
                [RunTag("version.torch", "2.14.1")],
            )
            if made.status != "RUNNING":
                client.set_terminated(run.info.run_id, made.status)
            made.run_id = run.info.run_id
        return client


@pytest.fixture(scope="session")
def new_runs() -> type[Runs]:
    """The class itself, for fixtures of a wider scope."""
    return Runs


@pytest.fixture
def runs() -> Runs:
    return Runs()


@pytest.fixture
def store_uri(empty_database: Path, tmp_path: Path) -> str:
    """A fresh SQLite store."""
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"
