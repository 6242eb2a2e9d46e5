"""The files of an image folder, and the labels and splits that their paths stand for."""

from __future__ import annotations

import hashlib
import os
import stat
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

import torch

from ssl_rot.data.folder.encoded import Listing
from ssl_rot.errors import DataError


@dataclass(frozen=True)
class FolderFiles:
    """Files of a folder, as :class:`EncodedImages`: their paths are only joined to be read."""

    root: Path
    paths: Sequence[str]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, rows: slice) -> list[str]:
        return [f"{self.root}/{path}" for path in self.paths[rows]]


def list_folder(root: Path, test_fraction: float | None, unlabelled: str | None) -> Listing:
    """Lists an image folder, without opening any file; arguments as for ``image_folder``."""
    trees = _find_trees(root, test_fraction)
    classes = _class_names(root / trees[0], root, unlabelled)
    if len(classes) < 2:
        only = f"the only class folder in {root / trees[0]} is {classes[0]!r}"
        raise folder_error(root, f"{only}; need at least two.")
    folders = []
    for tree in trees:
        for name in _class_names(root / tree, root, unlabelled):
            if name not in classes:
                known = ", ".join(map(repr, classes))
                fault = f"class {name!r} has test images and no training images; known: {known}."
                raise folder_error(root, fault)
            folders.append((tree, name, classes.index(name)))
    if unlabelled is not None:
        is_subfolder = unlabelled in os.listdir(root) and (root / unlabelled).is_dir()
        if not is_subfolder or unlabelled in trees:
            needed = "must be the name of a folder in it that is neither train nor test."
            raise folder_error(root, f"dataset.unlabelled={unlabelled} {needed}")
        folders.append((".", unlabelled, -1))
    paths: list[str] = []
    versions = array("q")
    labels: list[int] = []
    in_test: list[bool] = []
    for tree, name, label in folders:
        folder = (root / tree / name).resolve()
        above = frozenset(map(str, [folder, *folder.parents]))
        list_files(f"{root}/{tree}/{name}", above, paths, versions)
        count = len(paths) - len(labels)
        if count == 0:
            raise folder_error(root, f"class folder {tree}/{name} is empty; it must hold images.")
        labels += [label] * count
        in_test += [tree == "test"] * count
    names = [path.removeprefix(f"{root}/") for path in paths]
    return Listing(
        where=f"dataset.root={root}",
        classes=classes,
        names=names,
        images=FolderFiles(root, names),
        labels=torch.tensor(labels),
        in_test=torch.tensor(in_test),
        version=hashlib.sha256(versions).hexdigest(),
        names_hold_labels=True,
    )


def files_below(folder: str) -> list[str]:
    """All files below a folder, sorted, but for hidden ones; without opening any.

    Raises:
        OSError: a folder cannot be read.
    """
    real = Path(folder).resolve()
    paths: list[str] = []
    list_files(folder, frozenset(map(str, [real, *real.parents])), paths, array("q"))
    return paths


def folder_error(root: Path, problem: str) -> DataError:
    """An error that names the config key and its value."""
    return DataError(f"dataset.root={root}: {problem}")


def _find_trees(root: Path, test_fraction: float | None) -> tuple[str, ...]:
    full = root.absolute()
    expected = f"expected {full}/train/<class>/<images> and {full}/test/<class>/<images>"
    if not root.is_dir():
        raise folder_error(root, f"no such folder; {expected}.")
    has_both = (root / "train").is_dir() and (root / "test").is_dir()
    if test_fraction is None:
        if not has_both:
            one_tree = f"{root}/<class>/<images> and dataset.test_fraction=0.2."
            raise folder_error(root, f"{expected}; or {one_tree}")
        return "train", "test"
    if has_both:
        fault = f"has train and test folders; dataset.test_fraction={test_fraction}"
        raise folder_error(root, f"{fault} must be null.")
    return (".",)


def _class_names(tree: Path, root: Path, unlabelled: str | None) -> tuple[str, ...]:
    with os.scandir(tree) as entries:
        # A broken link is listed too, and then reported: without it, a class would be missing.
        folders = [e for e in entries if e.is_dir() or not os.path.exists(e.path)]
    names = sorted(folder.name for folder in folders if not _is_hidden(folder.name))
    if tree == root and unlabelled in names:
        names.remove(unlabelled)
    if not names:
        expected = "expected one folder of images per class."
        raise folder_error(root, f"no class folders in {tree}; {expected}")
    return tuple(names)


def _is_hidden(name: str) -> bool:
    # Archives made on a Mac have its hidden files in a folder that is not hidden.
    return name.startswith(".") or name == "__MACOSX"


def list_files(folder: str, above: frozenset[str], paths: list[str], versions: array[int]) -> None:
    """Appends all files below ``folder``, sorted, following links.

    A link to one of the folders ``above`` is appended like a file, and decoding reports it.

    ``versions`` gets each file's size in bytes (-1 if not a regular file) and time of modification
    in ns. An array, since a million tuples would keep the garbage collector busier than the disk.
    In one thread: on a local disk, several take twice as long, since they compete for the
    interpreter's lock. Network disks were not measured.
    """
    with os.scandir(folder) as entries:
        remaining = sorted(entries, key=attrgetter("name"), reverse=True)
    while remaining:
        entry = remaining.pop()  # frees the file status that the entry caches
        if _is_hidden(entry.name):
            continue
        try:
            status = entry.stat()
        except OSError:  # a broken link, which decoding reports
            size, modified = -1, 0
        else:
            if stat.S_ISDIR(status.st_mode):
                inside = os.path.realpath(entry.path)
                if inside not in above:
                    list_files(entry.path, above | {inside}, paths, versions)
                    continue
            size = status.st_size if stat.S_ISREG(status.st_mode) else -1
            modified = status.st_mtime_ns % 2**63  # times after 2262 do not fit into 63 bits
        paths.append(entry.path)
        versions.append(size)
        versions.append(modified)
