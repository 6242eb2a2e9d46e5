"""A folder of images, one sub-folder per class."""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from array import array
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path

import torch

from ssl_rot.data.digits import fixed_split
from ssl_rot.data.folder.cache import cached_images
from ssl_rot.data.folder.decoding import Bad
from ssl_rot.data.statistics import mean_and_std
from ssl_rot.data.types import Images, Source, Split, fingerprint
from ssl_rot.errors import DataError
from ssl_rot.option_types import Folder, ImageSize, OpenFraction, Text

log = logging.getLogger(__name__)

TWO_TREES = "{root}/train/<class>/<images> and {root}/test/<class>/<images>"
ONE_TREE = "{root}/<class>/<images>"
# Enough to see what kind of files they are, few enough to read.
NAMED = 10


def image_folder(
    root: Folder,
    image_size: ImageSize,
    test_fraction: OpenFraction | None = None,
    unlabelled: Text | None = None,
    skip_bad: bool = False,
) -> Source:
    """Images of any size and mode, decoded once into the image cache.

    Everything below a class's folder belongs to the class, hidden files excepted.

    Args:
        root: holds ``train`` and ``test`` with a folder per class each; or, with
            ``test_fraction``, the class folders themselves.
        image_size: pixels a side, after a square crop in the centre.
        test_fraction: of the images of a single tree, for the test split, which is stratified and
            the same for every seed; ``None`` for two trees.
        unlabelled: a folder in ``root`` with images for the pretext task alone; they stand behind
            the labelled training images, with label -1.
        skip_bad: leave files out that give no image, instead of refusing the folder.

    Raises:
        DataError: the folder is not laid out like this, or has bad files.
    """
    root = Path(root).expanduser()
    trees = _trees(root, test_fraction)
    classes = _class_names(root / trees[0], root, unlabelled)
    if len(classes) < 2:
        raise _fault(
            root, f"the only class folder in {root / trees[0]} is {classes[0]!r}; need two."
        )
    folders = [
        (tree, name) for tree in trees for name in _class_names(root / tree, root, unlabelled)
    ]
    for _, name in folders:
        if name not in classes:
            raise _fault(root, f"class {name!r} is in test and not in train; {classes=}.")
    labels = [classes.index(name) for _, name in folders]
    if unlabelled is not None:
        inside = Path(unlabelled).name == unlabelled and (root / unlabelled).is_dir()
        if not inside or unlabelled in trees:
            raise _fault(
                root,
                f"dataset.unlabelled={unlabelled} must be the name of a folder in it that is "
                "neither train nor test.",
            )
        folders.append((".", unlabelled))
        labels.append(-1)
    paths: list[str] = []
    versions = array("q")
    counts = []
    for tree, name in folders:
        before = len(paths)
        _list_files(str(root / tree / name), f"{tree}/{name}", paths, versions)
        counts.append(len(paths) - before)
        if len(paths) == before:
            raise _fault(root, f"class folder {tree}/{name} is empty; it must hold images.")
    repeats = torch.tensor(counts)
    label = torch.tensor(labels).repeat_interleave(repeats)
    in_test = torch.tensor([tree == "test" for tree, _ in folders]).repeat_interleave(repeats)
    version = hashlib.sha256(versions).hexdigest()
    cached = cached_images(root, paths, version, image_size)
    _report_bad(root, paths, cached.bad, skip_bad)
    good = torch.ones(len(paths), dtype=torch.bool)
    good[[entry.row for entry in cached.bad]] = False
    everything = Split(Images.mapped(cached.file), label)
    rows = torch.nonzero(good).flatten()
    if test_fraction is None:
        train, test = rows[~in_test[rows]], rows[in_test[rows]]
    else:
        labelled, rest = rows[label[rows] >= 0], rows[label[rows] < 0]
        train, test = (labelled[part] for part in fixed_split(label[labelled], test_fraction))
        train = torch.cat([train, rest])
    if len(train) == 0 or len(test) == 0:
        raise _fault(
            root, f"{len(train)} images to train on and {len(test)} to test on; need both."
        )
    return Source(
        train=everything.select(train),
        test=everything.select(test),
        classes=classes,
        # What was decoded, not the files' times: a copy of the folder is the same data.
        fingerprint=fingerprint(
            "image_folder", image_size, test_fraction, "\0".join(paths), cached.pixels
        ),
        statistics=mean_and_std(cached.sums[train.numpy()], len(train) * image_size**2),
    )


def _trees(root: Path, test_fraction: float | None) -> tuple[str, ...]:
    if not root.is_dir():
        raise _fault(root, f"no such folder; expected {TWO_TREES.format(root=root)}.")
    has_both = (root / "train").is_dir() and (root / "test").is_dir()
    if test_fraction is None:
        if not has_both:
            raise _fault(
                root,
                f"expected {TWO_TREES.format(root=root)}; or {ONE_TREE.format(root=root)} and "
                "dataset.test_fraction=0.2.",
            )
        return "train", "test"
    if has_both:
        raise _fault(
            root, f"has train and test folders; dataset.test_fraction={test_fraction} must be null."
        )
    return (".",)


def _class_names(tree: Path, root: Path, unlabelled: str | None) -> tuple[str, ...]:
    with os.scandir(tree) as entries:
        names = sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))
    if tree == root and unlabelled in names:
        names.remove(unlabelled)
    if not names:
        raise _fault(root, f"no class folders in {tree}; expected one folder of images per class.")
    return tuple(names)


def _list_files(folder: str, prefix: str, paths: list[str], versions: array[int]) -> None:
    """Everything below ``folder``, sorted, links followed.

    In one thread, since several would fight for the interpreter's lock: twice as slow on a disk of
    one's own. On disks of the network it has not been measured.

    Args:
        folder: where to look.
        prefix: of it, in the paths.
        paths: to be added to.
        versions: to be added to, of each file: its size in bytes (-1 when it is no regular file),
            and the time of its last change in ns. Numbers in an array, since a million tuples would
            make more work for the garbage collector than for the disk.
    """
    with os.scandir(folder) as entries:
        inside = sorted(entries, key=attrgetter("name"), reverse=True)
    while inside:
        entry = inside.pop()  # with what it keeps of the file's status
        if entry.name.startswith("."):
            continue
        path = f"{prefix}/{entry.name}"
        try:
            status = entry.stat()
        except OSError:  # a broken link or a circle of links; decoding will say so
            size, changed = -1, 0
        else:
            if stat.S_ISDIR(status.st_mode):
                _list_files(entry.path, path, paths, versions)
                continue
            size = status.st_size if stat.S_ISREG(status.st_mode) else -1
            changed = status.st_mtime_ns % 2**63  # there are times beyond 2262
        paths.append(path)
        versions.append(size)
        versions.append(changed)


def _report_bad(root: Path, paths: Sequence[str], bad: list[Bad], skip_bad: bool) -> None:
    if not bad:
        return
    named = [f"  {paths[entry.row]}: {entry.reason}" for entry in bad[:NAMED]]
    if len(bad) > NAMED:
        named.append(f"  and {len(bad) - NAMED} more")
    counted = f"{len(bad)} of {len(paths)} files give no image"
    if not skip_bad:
        raise _fault(
            root,
            "\n".join([f"{counted}; mend or remove them, or set dataset.skip_bad=true:", *named]),
        )
    log.warning("dataset.root=%s: %s and are skipped:\n%s", root, counted, "\n".join(named))


def _fault(root: Path, what: str) -> DataError:
    return DataError(f"dataset.root={root}: {what}")
