"""Many runs: the plan before them, the workers that run them, and the table of jobs after them.

Importing this package loads neither torch nor MLflow: Hydra imports it for single runs and for
``--help``.
"""

from ssl_rot.sweep.callback import Sweep

__all__ = ["Sweep"]
