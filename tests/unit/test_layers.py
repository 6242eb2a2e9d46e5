"""The layers of the house: a folder imports from those below it, never from those above."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "ssl_rot"

# From the foundation up. Folders of one layer do not know each other.
LAYERS = (
    {"errors"},
    {"seeding", "files", "streams", "imports", "building", "option_types", "transfer"},
    {"data", "models", "losses", "schedules"},
    {"freeze"},
    {"config", "training"},
    {"pretext"},
    {"tracking"},
    {"experiment"},
    {"deploy"},
    {"sweep"},
)
ENTRIES = "entries"
# The report reads what MLflow holds, and knows a run by its names alone.
REPORT = {"errors", "tracking"}
# A sweep ends with the report's verdict on its runs; the verdict chooses the model to register.
READS_REPORT = {"deploy", "sweep"}


def imports_of(path: Path) -> list[str]:
    """The modules of the package that a file imports, wherever in it, types included."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where they lead"
            base = node.module or ""
            found += [f"ssl_rot.{a.name}" for a in node.names] if base == "ssl_rot" else [base]
    return [name for name in found if name.startswith("ssl_rot.")]


def rooms_of(names: list[str]) -> set[str]:
    return {name.split(".")[1] for name in names} - {"__version__"}


def room_of(path: Path) -> str:
    """The folder, or the file of the foundation, that a file belongs to."""
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    is_entry = path.name == "__main__.py" or (
        path.parent == PACKAGE and room not in LAYERS[0] | LAYERS[1] | {"__init__"}
    )
    return ENTRIES if is_entry else room


FILES = sorted(PACKAGE.rglob("*.py"))
FOLDERS = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_lead_downwards(path):
    room = room_of(path)
    imported = rooms_of(imports_of(path)) - {room}
    if room == ENTRIES:
        return  # they are above everything
    if room == "report":
        assert imported <= REPORT
        return
    if room == "__init__":
        assert not imported
        return
    level = next((n for n, layer in enumerate(LAYERS) if room in layer), None)
    assert level is not None, f"{room} has no layer: give it one here and in CONTRIBUTING.md"
    below = set().union(*LAYERS[:level])
    assert imported <= (below | {"report"} if room in READS_REPORT else below)


def test_every_folder_has_a_layer_and_the_reverse():
    assert set().union(*LAYERS[2:]) | {"report"} == FOLDERS


@pytest.mark.parametrize("folder", sorted(FOLDERS))
def test_no_two_files_of_a_folder_import_each_other(folder):
    graph: dict[str, set[str]] = {}
    for path in (PACKAGE / folder).rglob("*.py"):
        name = ".".join(("ssl_rot", *path.relative_to(PACKAGE).with_suffix("").parts))
        if not name.endswith(("__init__", "__main__")):
            graph[name] = set(imports_of(path))
    list(TopologicalSorter(graph).static_order())  # raises CycleError, which names them


@pytest.mark.parametrize("folder", ["data", "freeze", "losses", "pretext", "schedules", "training"])
def test_training_knows_neither_hydra_nor_mlflow(folder):
    for path in (PACKAGE / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            roots = {name.partition(".")[0] for name in names}
            assert roots.isdisjoint({"hydra", "omegaconf", "mlflow"}), path


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_mlflows_types_stay_in_tracking_and_in_the_reports_loading(path):
    inside = (PACKAGE / "tracking", PACKAGE / "report" / "load")
    if any(folder in path.parents for folder in inside):
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert not (node.module or "").startswith("mlflow")
        elif isinstance(node, ast.Import):
            assert not any(alias.name.startswith("mlflow") for alias in node.names)
