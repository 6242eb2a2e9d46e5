"""Uploads an exported folder to the Hugging Face Hub, or to a server that speaks as it does."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from ssl_rot.deploy.layout import FILES
from ssl_rot.errors import ExportError, describe_error


def check_hub(repository: str) -> None:
    """Refuses before anything is written.

    Raises:
        ExportError: huggingface_hub is not installed, or ``repository`` cannot be a name.
    """
    if importlib.util.find_spec("huggingface_hub") is None:
        raise ExportError("--push needs huggingface_hub: pip install 'ssl_rot[hub]'")
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise ExportError(f"--push {repository}: {error}") from error


def push(folder: Path, repository: str, message: str) -> str:
    """Uploads the files of a folder as one commit, and returns its address.

    A missing repository is created, private. Server and token are huggingface_hub's own affair:
    ``HF_ENDPOINT``, ``HF_TOKEN``, ``hf auth login``.

    Raises:
        ExportError: the server cannot be reached, or refuses.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        repository = api.create_repo(repository, private=True, exist_ok=True).repo_id
        commit = api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            commit_message=message,
            # Graphs of an earlier export would stand beside other weights.
            delete_patterns=[name for name in FILES if not (folder / name).exists()],
        )
    except Exception as error:  # each version of its HTTP client has errors of its own
        raise ExportError(
            f"{folder} is complete, but was not uploaded to {repository}: {describe_error(error)}\n"
            f"To try again: hf upload {repository} {folder}"
        ) from error
    return str(commit.commit_url)
