"""A CSV of labels beside the images of a folder."""

from __future__ import annotations

import pytest
import torch

from ssl_rot.data import image_folder
from ssl_rot.errors import DataError

# Not in the order of the names.
ROWS = ["2.png,cat", "1.png,dog", "0.png,cat", "3.png,dog", "4.png,cat", "5.png,dog"]
SPLITS = ["train", "train", "train", "train", "test", "test"]


@pytest.fixture
def flat(tmp_path, write_images):
    """A flat folder with eight images and a CSV that names six: ``flat(rows)``."""
    write_images(tmp_path / "flat", 8)

    def make(rows=ROWS, header="path,label", encoding="utf-8"):
        text = "\n".join([header, *rows]) + "\n"
        (tmp_path / "flat" / "labels.csv").write_bytes(text.encode(encoding))
        return tmp_path / "flat"

    return make


@pytest.fixture
def split(flat):
    """The same with a column split."""
    rows = [f"{row},{split}" for row, split in zip(ROWS, SPLITS, strict=True)]
    return flat(rows, "path,label,split")


def load(root, **options):
    return image_folder(root, 8, labels="labels.csv", **options)


def pictures(root, *names):
    """The images as they are decoded one by one, from class folders."""
    for name in names:
        folder = root.parent / "single" / "train" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "0.png").write_bytes((root / name).read_bytes())
        test = root.parent / "single" / "test" / name
        test.mkdir(parents=True, exist_ok=True)
        (test / "0.png").write_bytes((root / name).read_bytes())
    return image_folder(root.parent / "single", 8).train.images[:]


def test_labels_and_splits_of_a_csv(split):
    source = load(split)
    assert source.classes == ("cat", "dog")
    assert source.train.labels.tolist() == [0, 1, 0, 1]
    assert source.test.labels.tolist() == [0, 1]
    in_order = pictures(split, *(f"{i}.png" for i in range(4)))
    assert torch.equal(source.train.images[:], in_order[[2, 1, 0, 3]])


def test_without_a_column_split_the_images_are_split_like_a_single_tree(flat):
    source = load(flat(), test_fraction=0.3)
    assert source.train.labels.bincount().tolist() == [2, 2]
    assert source.test.labels.bincount().tolist() == [1, 1]


@pytest.mark.parametrize(("unlabelled", "count"), [(None, 1), ("more", 3), (".", 5)])
def test_unlabeled_images(flat, write_images, unlabelled, count):
    """Those without a label, and those of a folder that the CSV does not name."""
    root = flat([*ROWS[:5], "5.png,"])
    write_images(root / "more", 2)
    source = load(root, test_fraction=0.3, unlabelled=unlabelled)
    assert int((source.train.labels < 0).sum()) == count
    assert len(source.train) + len(source.test) == 5 + count
    assert len(source.train.images[:].unique(dim=0)) == len(source.train)


def test_a_table_from_excel(split):
    path = split / "labels.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert load(split).train.labels.tolist() == [0, 1, 0, 1]


def test_the_fingerprint_depends_on_the_labels_and_not_on_the_location(split, tmp_path):
    first = load(split).fingerprint
    moved = split.rename(tmp_path / "moved")
    assert load(moved).fingerprint == first
    text = (moved / "labels.csv").read_text()
    (moved / "labels.csv").write_text(text.replace("2.png,cat", "2.png,dog"))
    assert load(moved).fingerprint != first


def test_an_image_that_changes_is_decoded_again(split):
    before = load(split).train.images[:].clone()
    (split / "0.png").write_bytes((split / "7.png").read_bytes())
    assert not torch.equal(load(split).train.images[:], before)


FRACTION = {"test_fraction": 0.3}


@pytest.mark.parametrize(
    ("rows", "header", "options", "message"),
    [
        ([*ROWS, "8.png,cat"], "path,label", FRACTION, r"1 of 7 files do not exist(.|\n)*'8.png'"),
        ([*ROWS, "/tmp/6.png,cat"], "path,label", FRACTION, r"1 paths are absolute(.|\n)*/tmp/6"),
        ([], "path,label,split", {}, "names no image"),
        ([*ROWS, ".,cat"], "path,label", FRACTION, "1 of 7 files do not exist"),
        (
            [*ROWS, "./0.png,dog"],
            "path,label",
            FRACTION,
            r"1 paths occur more than once:\n  '0.png'",
        ),
        (
            ROWS,
            "file,label",
            FRACTION,
            "must name the columns path and label(.*)file, label",
        ),
        (ROWS, "path,label,Split", FRACTION, "names: path, label, Split"),
        (ROWS, "path,path,label", FRACTION, "names: path, path, label"),
        ([*ROWS, "6.png"], "path,label", FRACTION, "line 8 does not have 2 fields"),
        ([*ROWS, "6.png,cat,x"], "path,label", FRACTION, "line 8 does not have 2 fields"),
        ([*ROWS, '"6.png,cat'], "path,label", FRACTION, "is not a CSV in UTF-8"),
        (ROWS, "path,label", {}, "has no column split; add one(.*)test_fraction=0.2"),
        (["0.png,cat,val"], "path,label,split", {}, "the split of '0.png' is 'val'; it must be"),
        (["0.png,cat,train"], "path,label,split", FRACTION, "test_fraction=0.3 must be null"),
        (
            ["0.png,a,train", "1.png,b,train", "2.png,,test"],
            "path,label,split",
            {},
            "have no label",
        ),
        (
            ["0.png,a,train", "1.png,b,train", "2.png,c,test"],
            "path,label,split",
            {},
            "class 'c' has test images and no",
        ),
        (["0.png,a", "1.png,a"], "path,label", FRACTION, "the only class of its training images"),
        (["0.png,"], "path,label", FRACTION, "no labels; need at least two classes"),
        (ROWS, "path,label", FRACTION | {"unlabelled": "gone"}, "unlabelled=gone must be a folder"),
    ],
)
def test_a_faulty_csv_is_reported(flat, rows, header, options, message):
    root = flat(rows, header)
    with pytest.raises(DataError, match=message) as error:
        load(root, **options)
    assert str(error.value).startswith(("dataset.labels=labels.csv: ", f"dataset.root={root}: "))


def test_a_csv_in_another_encoding_is_reported(flat):
    root = flat(["0.png,gänse", "1.png,dog"], encoding="latin-1")
    with pytest.raises(DataError, match="is not a CSV in UTF-8"):
        load(root, test_fraction=0.3)


def test_a_missing_csv_is_reported_with_the_place_where_it_was_looked_for(flat):
    root = flat()
    with pytest.raises(DataError, match=f"labels=gone.csv: {root}/gone.csv cannot be read"):
        image_folder(root, 8, labels="gone.csv", test_fraction=0.3)


def test_a_missing_folder_is_reported(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        load(tmp_path / "gone")


def test_bad_files_are_counted(split):
    (split / "2.png").write_text("no image")
    with pytest.raises(DataError, match=r"1 of 6 files cannot be decoded(.|\n)*'2.png'"):
        load(split)
    assert load(split, skip_bad=True).train.labels.tolist() == [1, 0, 1]
