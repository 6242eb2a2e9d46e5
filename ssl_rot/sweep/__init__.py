"""Many runs: the plan before them, the processes they run in, and the table of jobs after them.

Nothing heavy is imported here: Hydra builds the callback for single runs too.
"""

from ssl_rot.sweep.callback import Sweep

__all__ = ["Sweep"]
