"""The names of tags and files: a contract with ``ssl_rot.report`` and with users' own queries."""


class Tag:
    """The tags of runs."""

    PHASE = "ssl_rot.phase"  # pretext | downstream | floor | sweep
    ARM = "ssl_rot.arm"  # supervised, or the name of the pretext: rotation, simclr, ...
    CONFIG_KEY = "ssl_rot.config_key"
    REQUEST_KEY = "ssl_rot.request_key"  # the config key with auto left as auto, on all machines
    PAIR_KEY = "ssl_rot.pair_key"
    CONTENT_KEY = "ssl_rot.content_key"
    PRETEXT_KEY = "ssl_rot.pretext_key"
    FLOOR_KEY = "ssl_rot.floor_key"  # of a floor, and of the downstream runs with the same images
    LABELS = "ssl_rot.labels"  # of a downstream run: how many labels it used, in words
    PRETEXT_RUN_ID = "ssl_rot.pretext_run_id"
    PARENT_RUN_ID = "mlflow.parentRunId"  # MLflow's own: the sweep that a run belongs to
    JOB = "ssl_rot.job"  # the number of the job in that sweep
    FOLDER = "ssl_rot.folder"  # where the run writes on its host, checkpoints included
    RELATIVE_FOLDER = "ssl_rot.relative_folder"  # the same, from the folder of a SQLite database
    HOST = "ssl_rot.host"
    THREADS = "ssl_rot.threads"  # of torch on the CPU, where their number can change the result
    GPUS = "ssl_rot.gpus"  # of a sweep: the GPUs that its own process saw, if any
    COMMAND = "ssl_rot.command"  # of a sweep
    CLOSER = "ssl_rot.closer"  # of a sweep that nobody waits for: the SLURM job that closes it
    NOTE = "mlflow.note.content"  # MLflow's own: the description, in Markdown
    COLOR = "mlflow.runColor"  # MLflow's own: of the run's lines and bars in its charts
    SOURCE = "mlflow.source.name"  # MLflow's own: the command, also of the jobs of a sweep
    ERROR = "ssl_rot.error"  # why the run did not finish, in one line
    JOB_ERROR = "ssl_rot.job_error"  # of a sweep: why job .0, .1, ... failed, even without a run
    JOB_OVERRIDES = "ssl_rot.job_overrides"  # of a sweep: the overrides of that job
    BEST = "ssl_rot.best"  # true: the best trial of an optimizing sweeper


WEIGHTS = "weights.safetensors"  # the artifact with the weights of a run's network
CONFIG = "config.yaml"  # the artifact with a run's resolved config
INPUTS = "inputs.json"  # of a downstream run: class names, image size, mean and std
PREDICTIONS = "predictions.parquet"  # of a downstream run: the last epoch, on the test images
HISTORY = "history.csv"  # the artifact with a run's metrics, one row per epoch
SYSTEM_METRICS = "system_metrics.csv"  # in a run's folder: what it takes of its machine, if asked
RECORD = "run.json"  # in a run's folder: everything else that MLflow needs, see RunRecord
