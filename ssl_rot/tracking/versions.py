"""The versions that a run records as tags."""

import platform
from importlib.metadata import version

from mlflow.utils.git_utils import get_git_commit
from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT

import ssl_rot
from ssl_rot.config.paths import CHECKOUT_CONF


def version_tags() -> dict[str, str]:
    """The versions of the code (in a checkout, its git commit), Python and the main libraries."""
    # Imported here: the report knows this package too, and needs no torch.
    import torch

    # MLflow itself would take the commit of whatever repository the started script is in.
    commit = get_git_commit(ssl_rot.__file__) if CHECKOUT_CONF.is_dir() else None
    return {
        **({} if commit is None else {MLFLOW_GIT_COMMIT: commit}),
        "ssl_rot.version": ssl_rot.__version__,
        "version.python": platform.python_version(),
        "version.torch": torch.__version__,
        "version.torchvision": version("torchvision"),
        "version.mlflow": version("mlflow"),
    }
