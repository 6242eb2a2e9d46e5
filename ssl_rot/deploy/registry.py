"""Registers the model that a report's verdict advises."""

from __future__ import annotations

from ssl_rot.deploy.chosen import choose_by_verdict
from ssl_rot.deploy.logged_model import log_classifier
from ssl_rot.errors import UserError, without_password
from ssl_rot.report.page.rendering import Report
from ssl_rot.tracking.logged_models import register_model
from ssl_rot.tracking.runs import ExistingStore

ALIAS = "best"


def register(found: Report, name: str, planned_seeds: int | None, *, anyway: bool) -> str:
    """Registers the model of :func:`choose_by_verdict`, which is logged if it is not yet.

    Returns:
        What was registered, and why, in words.

    Raises:
        UserError: the verdict advises no model, or MLflow does not accept it.
    """
    try:
        chosen = choose_by_verdict(found, planned_seeds, anyway=anyway)
    except UserError as error:
        raise UserError(f"register={name}: nothing was registered, since {error}") from None
    store = ExistingStore.of_run(chosen.run_id, found.runs.attrs["uri"])
    uri = log_classifier(store, chosen.run_id)
    tags = {**chosen.tags, "ssl_rot.report": without_password(found.own_command)}
    version = register_model(store, uri, chosen.run_id, name, ALIAS, tags)
    return f"Registered {version} as models:/{name}@{ALIAS}: {chosen.reason}"
