"""Many runs: the plan before them, the workers that run them, and the table of jobs after them.

Importing this package loads neither torch nor MLflow: Hydra imports it for single runs and for
``--help``, and workers import it before a job's environment variables are set.
"""

from ssl_rot.sweep.callback import Sweep
from ssl_rot.sweep.workers import ignore_signals

__all__ = ["Sweep", "ignore_signals"]
