"""The layers of the house: a module imports from those below it, never from those above."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "ssl_rot"

LAYERS = (
    {"errors", "seeding", "confdir", "interrupt", "files"},
    {
        "compute",
        "distributed",
        "config",
        "data",
        "models",
        "losses",
        "schedules",
        "freeze",
        "keys",
        "ranges",
    },
    {"features", "meter"},
    {"evaluate"},
    {"train", "checkpoint", "figures", "history", "profiling", "lease"},
    {"pretext"},
    {"tracking"},
    {
        "job",
        "outcome",
        "stages",
        "plan",
        "sweep",
        "run",
        "workers",
        "sync",
        "resume",
        "tasks",
        "followers",
        "recording",
    },
)
# Within a layer modules are strangers, apart from the entry's, and from
NEIGHBOURS = {
    "config": {"models", "ranges"},  # tries whether a model can be built
    "freeze": {"models"},
    "compute": {"distributed"},
    "files": {"errors"},
}
# The report reads what MLflow holds, and knows a run by its names alone.
REPORT = {"errors", "confdir", "tracking"}


def imports_of(path: Path) -> set[str]:
    """Which parts of the package a file imports, wherever in it, types included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where they lead"
            names = [node.module or ""]
            if node.module == "ssl_rot":
                names = [f"ssl_rot.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("ssl_rot.")}
    return found


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.parent != PACKAGE or
         path.name != "__init__.py"]  # fmt: skip


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_lead_downwards(path):
    part = part_of(path)
    imported = imports_of(path) - {part, "__version__"}
    if part == "report":
        assert imported <= REPORT
        return
    level = next((n for n, layer in enumerate(LAYERS) if part in layer), None)
    assert level is not None, f"{part} has no layer: give it one here and in the design"
    below = set().union(*LAYERS[:level])
    if part in LAYERS[-1]:
        below |= LAYERS[-1] - {"run"}
    assert imported <= below | NEIGHBOURS.get(part, set())


def test_no_two_parts_import_each_other():
    graph: dict[str, set[str]] = {}
    for path in FILES:
        graph.setdefault(part_of(path), set()).update(imports_of(path) - {part_of(path)})
    list(TopologicalSorter(graph).static_order())  # raises CycleError, which names them


@pytest.mark.parametrize("part", ["train", "freeze", "losses", "pretext", "figures", "checkpoint"])
def test_training_knows_neither_hydra_nor_mlflow(part):
    for node in ast.walk(ast.parse((PACKAGE / f"{part}.py").read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        roots = {name.partition(".")[0] for name in names}
        assert roots.isdisjoint({"hydra", "omegaconf", "mlflow"})


def test_parts_that_are_no_module_of_ours_are_not_in_the_table():
    there = {part_of(path) for path in FILES}
    assert set().union(*LAYERS) <= there
