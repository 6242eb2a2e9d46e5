"""The names of tags and files: a contract with ``ssl_rot.report`` and with people's own queries."""

from __future__ import annotations


class Tag:
    """Tags of our runs."""

    PHASE = "ssl_rot.phase"  # pretext | downstream | sweep
    ARM = "ssl_rot.arm"  # rotation | supervised
    CONFIG_KEY = "ssl_rot.config_key"
    PAIR_KEY = "ssl_rot.pair_key"
    CONTENT_KEY = "ssl_rot.content_key"
    PRETEXT_KEY = "ssl_rot.pretext_key"
    PRETEXT_RUN_ID = "ssl_rot.pretext_run_id"
    PARENT_RUN_ID = "mlflow.parentRunId"  # MLflow's own: the sweep that a run belongs to
    FOLDER = "ssl_rot.folder"  # where the run writes on its host, checkpoints among it
    HOST = "ssl_rot.host"
    COMMAND = "ssl_rot.command"  # of a sweep
    ERROR = "ssl_rot.error"  # why it did not finish, in a line
    JOB_ERROR = "ssl_rot.job_error"  # of a sweep: why job .0, .1, ... failed, had it a run or not
    JOB_KEY = "ssl_rot.job_key"  # of a sweep: the config key of that job, if it came that far
    JOB_OVERRIDES = "ssl_rot.job_overrides"  # of a sweep: what was overridden for it
    BEST = "ssl_rot.best"  # true: the trial that a sweeper which chooses found best


WEIGHTS = "weights.safetensors"
"""The artifact that holds a run's network."""
HISTORY = "history.csv"
"""The artifact that holds its metrics, a row an epoch."""
RECORD = "run.json"
"""The file in a run's folder that holds what MLflow is to know of it besides."""
