"""What someone who only wants the numbers would write; `sweep_engine.py` compares with it.

    python benchmarks/_bare_loop.py loop --multirun 'seed=range(100)' ...  Hydra's basic launcher
    python benchmarks/_bare_loop.py processes 40                           no Hydra, two processes

One tiny epoch a job on digits, logged to MLflow by hand: params, tags, metrics, weights, history,
predictions and config. No parent run, no plan, no keys, no resume, no figures.
"""

from __future__ import annotations

import csv
import json
import multiprocessing
import sys
from functools import cache, partial
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import torch
from hydra.utils import instantiate
from safetensors.torch import save_file

from ssl_rot.config.params import flatten
from ssl_rot.config.paths import conf_dir
from ssl_rot.data import Batches, digits
from ssl_rot.models import Classifier, build_backbone, build_head
from ssl_rot.training.compute import Compute
from ssl_rot.training.evaluation import predict
from ssl_rot.training.loop import fit
from ssl_rot.training.phase import Phase

source = cache(digits)


def train(config: dict[str, Any], folder: Path) -> None:
    """One job."""
    folder.mkdir(parents=True, exist_ok=True)
    seed, node = config["seed"], dict(config["dataset"])
    del node["source"]
    data = instantiate({**node, "_partial_": True})(source=source(16), seed=seed)
    mlflow.set_experiment("bare")
    with mlflow.start_run(run_name=f"supervised-digits-seed{seed}"):
        mlflow.set_tags({"phase": "downstream", "arm": "supervised", "torch": torch.__version__})
        mlflow.log_params(flatten(config))
        (folder / "config.json").write_text(json.dumps(config))
        backbone = build_backbone(config["model"], in_channels=1, seed=seed)
        channels = backbone.out_channels
        head = build_head(config["head"], in_channels=channels, num_classes=10, seed=seed)
        model = Classifier(backbone, head)
        compute = Compute(torch.device("cpu"), config["precision"])
        batches = partial(
            Batches,
            device=compute.device,
            mean=data.mean,
            std=data.std,
            seed=seed,
            stream="downstream",
        )
        test = batches(
            data.test.images, data.test.labels, batch_size=256, augment=None, shuffle=False
        )
        phase = Phase(
            name="downstream",
            model=model,
            train=batches(
                data.train.images,
                data.train.labels,
                batch_size=64,
                augment=data.augment,
                shuffle=True,
            ),
            evaluations={"test": test},
            loss_fn=instantiate(config["loss"]),
            schedule=instantiate(config["schedule"]),
            freeze=instantiate(config["freeze"]),
            seed=seed,
        )
        rows = fit(
            phase, compute, log=lambda epoch, metrics: mlflow.log_metrics(metrics, step=epoch)
        )
        state = {name: value.contiguous() for name, value in model.state_dict().items()}
        save_file(state, folder / "weights.safetensors")
        with (folder / "history.csv").open("w") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        classes, targets, probabilities = predict(model, test, compute)
        table = pd.DataFrame(
            {
                "target": targets.numpy(),
                "prediction": classes.numpy(),
                "probability": probabilities.numpy(),
            }
        )
        table.to_parquet(folder / "predictions.parquet", index=False)
        for name in ("config.json", "weights.safetensors", "history.csv", "predictions.parquet"):
            mlflow.log_artifact(str(folder / name))


def loop() -> None:
    """With Hydra, in one process."""
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import DictConfig, OmegaConf

    @hydra.main(version_base="1.3", config_path=conf_dir(), config_name="config")
    def main(cfg: DictConfig) -> None:
        config: Any = OmegaConf.to_container(cfg, resolve=True)
        train(config, Path(HydraConfig.get().runtime.output_dir))

    main()


def start(config: dict[str, Any], seed: int) -> None:
    torch.set_num_threads(1)
    train({**config, "seed": seed}, Path(f"job{seed}"))


def processes(count: int) -> None:
    """Without Hydra, in two processes that share the jobs; the config is read once."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    overrides = ["+experiment=supervised", "schedule.epochs=1", "precision=fp32"]
    with initialize_config_dir(version_base="1.3", config_dir=conf_dir()):
        config: Any = OmegaConf.to_container(compose("config", overrides), resolve=True)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.map(partial(start, config), range(count), chunksize=1)


if __name__ == "__main__":
    kind = sys.argv.pop(1)
    loop() if kind == "loop" else processes(int(sys.argv[1]))
