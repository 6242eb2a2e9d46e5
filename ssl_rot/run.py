"""``python -m ssl_rot.run +experiment=rotation``: one run; with ``--multirun`` a sweep of them."""

from __future__ import annotations

import logging
import sys
import tempfile
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from ssl_rot.confdir import conf_dir
from ssl_rot.errors import EXIT_STATUS, UserError

log = logging.getLogger(__name__)


def run(cfg: DictConfig, choices: dict[str, str], folder: Path) -> float:
    """One run, stage by stage.

    Args:
        cfg: the composed config.
        choices: the chosen option of each group.
        folder: where what the run writes to the disk goes.

    Returns:
        The last epoch's accuracy: on the validation split if there is one, else on the test set.

    Raises:
        UserError: something the user can mend.
    """
    # Torch and MLflow take seconds to import, and --help needs neither.
    from ssl_rot import stages
    from ssl_rot.config import validate

    config = validate(cfg)
    job = stages.set_up(config, choices, folder)
    pretrained = stages.pretext(job)
    downstream = stages.downstream(job, pretrained)
    stages.summarise(job, pretrained, downstream)
    last = downstream.history[-1]
    return last.get("val_acc", last["test_acc"])


@hydra.main(version_base="1.3", config_path=conf_dir(), config_name="config")
def _task(cfg: DictConfig) -> float | None:
    hydra_cfg = HydraConfig.get()
    choices = {str(group): str(option) for group, option in hydra_cfg.runtime.choices.items()}
    try:
        return run(cfg, choices, Path(hydra_cfg.runtime.output_dir))
    except UserError as error:
        if hydra_cfg.mode == RunMode.MULTIRUN:  # leaving here would end the sweep for all jobs
            raise
        log.error("%s", error)
        sys.exit(EXIT_STATUS)


def main() -> None:
    """The console script ``ssl-rot``."""
    try:
        with tempfile.TemporaryFile(dir="."):
            pass
    except OSError as error:
        print(
            f"The working directory {Path.cwd()} cannot be written ({error.strerror}). Runs leave "
            "outputs/, mlruns/ and mlflow.db there: change into a folder of your own.",
            file=sys.stderr,
        )
        sys.exit(EXIT_STATUS)
    _task()


if __name__ == "__main__":
    main()
