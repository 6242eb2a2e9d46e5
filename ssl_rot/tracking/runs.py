"""What runs a tracking store has: found, read and tagged."""

from __future__ import annotations

from pathlib import Path

from mlflow.entities import Run
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from ssl_rot.tracking.names import Tag
from ssl_rot.tracking.run_log import answering
from ssl_rot.tracking.store import Store


class Runs(Store):
    """The runs that there are. Arguments and errors as of :class:`Store`."""

    def children(self, parent: str) -> list[Run]:
        """All runs under ``parent``."""
        condition = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{parent}'"
        runs: list[Run] = []
        token = None
        while True:
            with answering(f"{self.uri} does not tell which runs there are"):
                page = self.client.search_runs([self.experiment_id], condition, page_token=token)
            runs += page
            token = page.token
            if not token:
                return runs

    def status(self, run_id: str) -> str:
        """A run's status, as MLflow names it.

        Raises:
            TrackingError: the store does not answer, or has no such run.
        """
        return str(self.get(run_id).info.status)

    def get(self, run_id: str) -> Run:
        """A run by its id.

        Raises:
            TrackingError: the store does not answer, or has no such run.
        """
        with answering(f"Run {run_id} is not in {self.uri}"):
            return self.client.get_run(run_id)

    def tag(self, run_id: str, key: str, value: str) -> None:
        """Sets a tag of any run."""
        with answering(f"{self.uri} did not take a tag of run {run_id}"):
            self.client.set_tag(run_id, key, value)

    def untag(self, run: Run, prefix: str) -> None:
        """Takes the tags away from ``run`` that begin with ``prefix``."""
        with answering(f"{self.uri} did not take a tag of run {run.info.run_id} away"):
            for key in run.data.tags:
                if key.startswith(prefix):
                    self.client.delete_tag(run.info.run_id, key)

    def tags(self, run_id: str, prefix: str) -> dict[str, str]:
        """The tags of a run that begin with ``prefix``, without it."""
        tags = self.get(run_id).data.tags
        return {k.removeprefix(prefix): v for k, v in tags.items() if k.startswith(prefix)}

    def find(
        self,
        phase: str,
        tag: str,
        key: str,
        parent: str | None = None,
        *,
        everywhere: bool = False,
    ) -> Run | None:
        """The latest FINISHED run of a phase whose ``tag`` is ``key``.

        Args:
            phase: of the run.
            tag: the kind of key.
            key: its value.
            parent: only among the children of this run.
            everywhere: in all experiments of the store, not only in this one.
        """
        condition = "attributes.status = 'FINISHED'"
        if parent is not None:
            condition += f" and tags.`{MLFLOW_PARENT_RUN_ID}` = '{parent}'"
        found = self._search(phase, tag, key, condition, limit=1, everywhere=everywhere)
        return found[0] if found else None

    def _search(
        self, phase: str, tag: str, key: str, condition: str, limit: int, everywhere: bool = False
    ) -> list[Run]:
        with answering(f"{self.uri} does not tell which runs there are"):
            experiments = [self.experiment_id]
            if everywhere:
                experiments = [e.experiment_id for e in self.client.search_experiments()]
            found: list[Run] = self.client.search_runs(
                experiments,
                f"{condition} and tags.`{Tag.PHASE}` = '{phase}' and tags.`{tag}` = '{key}'",
                max_results=limit,
                order_by=["attributes.start_time DESC"],
            )
        return found

    def artifact(self, run_id: str, name: str, folder: Path) -> Path:
        """Brings an artifact of a run into ``folder``.

        Raises:
            TrackingError: there is no such run, or it has no such artifact.
        """
        with answering(f"Run {run_id} in {self.uri} has no artifact {name}"):
            folder.mkdir(parents=True, exist_ok=True)
            return Path(self.client.download_artifacts(run_id, name, str(folder)))
