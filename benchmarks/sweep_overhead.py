"""What a sweep's plan, keys, locks and table cost, against a bare Hydra loop.

    python benchmarks/sweep_overhead.py                         about ten minutes
    python benchmarks/sweep_overhead.py --jobs 20 --repeats 1

Both sides train the same jobs of one tiny epoch with Hydra's basic launcher in one process, and log
the same to MLflow: params, tags, metrics, weights, history and figures. The bare side does so by
hand with `mlflow.log_*`, and has no parent run, no plan, no keys and no resume. The sides
alternate. Prints each side's median with the smallest and the largest, and writes
benchmarks/sweep_overhead.json.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SIDES: dict[str, tuple[list[str], list[str]]] = {
    "ssl_rot": (["-m", "ssl_rot.run"], []),
    "bare": ([__file__, "bare"], ["~hydra.callbacks.sweep"]),
}


def bare() -> None:
    """The loop that someone who only wants the numbers would write."""
    import hydra
    import mlflow
    import torch
    from hydra.core.hydra_config import HydraConfig
    from hydra.utils import instantiate
    from omegaconf import DictConfig, OmegaConf
    from safetensors.torch import save_file

    from ssl_rot.config.params import flatten
    from ssl_rot.config.paths import conf_dir
    from ssl_rot.data import Batches, digits
    from ssl_rot.experiment import figures
    from ssl_rot.models import Classifier, build_backbone, build_head
    from ssl_rot.training.compute import Compute
    from ssl_rot.training.evaluation import predict
    from ssl_rot.training.loop import fit
    from ssl_rot.training.phase import Phase

    source = cache(digits)

    @hydra.main(version_base="1.3", config_path=conf_dir(), config_name="config")
    def main(cfg: DictConfig) -> None:
        folder = Path(HydraConfig.get().runtime.output_dir)
        seed, node = cfg.seed, dict(cfg.dataset)
        del node["source"]
        data = instantiate({**node, "_partial_": True})(source=source(16), seed=seed)
        mlflow.set_experiment("bare")
        with mlflow.start_run(run_name=f"supervised-digits-seed{seed}"):
            mlflow.set_tags(
                {"phase": "downstream", "arm": "supervised", "torch": torch.__version__}
            )
            mlflow.log_params(flatten(OmegaConf.to_container(cfg, resolve=True)))
            OmegaConf.save(cfg, folder / "config.yaml")
            mlflow.log_artifact(str(folder / "config.yaml"))
            backbone = build_backbone(cfg.model, in_channels=1, seed=seed)
            channels = backbone.out_channels
            head = build_head(cfg.head, in_channels=channels, num_classes=10, seed=seed)
            model = Classifier(backbone, head)
            compute = Compute(torch.device("cpu"), cfg.precision)
            common = {"device": compute.device, "mean": data.mean, "std": data.std, "rotate": None}
            common |= {"seed": seed, "stream": "downstream"}
            train, test = (
                Batches(
                    split.images,
                    split.labels,
                    batch_size=size,
                    augment=data.augment if shuffle else None,
                    shuffle=shuffle,
                    **common,
                )
                for split, size, shuffle in ((data.train, 64, True), (data.test, 256, False))
            )
            phase = Phase(
                name="downstream",
                model=model,
                train=train,
                evaluations={"test": test},
                loss_fn=instantiate(cfg.loss),
                schedule=instantiate(cfg.schedule),
                freeze=instantiate(cfg.freeze),
                seed=seed,
            )
            rows = fit(
                phase,
                compute,
                log=lambda epoch, metrics: mlflow.log_metrics(metrics, step=epoch),
            )
            state = {name: value.contiguous() for name, value in model.state_dict().items()}
            save_file(state, folder / "weights.safetensors")
            with (folder / "history.csv").open("w") as file:
                writer = csv.DictWriter(file, rows[0])
                writer.writeheader()
                writer.writerows(rows)
            figures.draw_curves(rows, "curves", folder / "figures" / "curves.png")
            guesses, truths, _ = predict(model, test, compute)
            path = folder / "figures" / "confusion_matrix.png"
            figures.draw_confusion_matrix(guesses, truths, data.classes, "confusion", path)
            for name in ("weights.safetensors", "history.csv"):
                mlflow.log_artifact(str(folder / name))
            for picture in sorted((folder / "figures").iterdir()):
                mlflow.log_artifact(str(picture), "figures")

    main()


def measure(side: str, jobs: int) -> dict[str, float]:
    """Wall-clock and processor seconds, starting from an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        program, extra = SIDES[side]
        sweep = ["--multirun", "+experiment=supervised", f"seed=range({jobs})", "schedule.epochs=1"]
        command = [*program, *sweep, "precision=fp32", *extra]
        env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, *command], cwd=folder, env=env, capture_output=True, text=True
        )
        wall = time.perf_counter() - start
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            sys.exit(done.stdout + done.stderr)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": wall, "cpu": cpu}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    times: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for _ in range(args.repeats):
        for side in SIDES:
            times[side].append(measure(side, args.jobs))
            print(side, *(f"{k} {v:.1f} s" for k, v in times[side][-1].items()), flush=True)
    summary: dict[str, object] = {"jobs": args.jobs, "times": times}
    for what in ("wall", "cpu"):
        medians = {side: statistics.median(t[what] for t in times[side]) for side in SIDES}
        ratio = medians["ssl_rot"] / medians["bare"]
        summary[what] = {**medians, "ratio": ratio}
        print(
            f"{what}: "
            + ", ".join(
                f"{side} {medians[side]:.1f} s ({min(t[what] for t in times[side]):.1f} to "
                f"{max(t[what] for t in times[side]):.1f})"
                for side in SIDES
            )
            + f", ratio {ratio:.2f}"
        )
    Path(__file__).with_suffix(".json").write_text(json.dumps(summary, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["bare"]:
        del sys.argv[1]
        bare()
    else:
        main()
