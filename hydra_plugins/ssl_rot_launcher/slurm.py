"""``hydra/launcher=slurm``."""

from ssl_rot.sweep.slurm import ArrayLauncher


class SlurmLauncher(ArrayLauncher):
    """See :class:`ArrayLauncher`."""
