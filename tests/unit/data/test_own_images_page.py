"""docs/own_images.md: its code and its commands work on the layouts that it shows."""

from __future__ import annotations

import re
import shlex

import pytest
from PIL import Image

from ssl_rot.config.validation import validate
from ssl_rot.data import huggingface, image_folder


@pytest.fixture(scope="module")
def page(checkout) -> str:
    return (checkout / "docs" / "own_images.md").read_text()


def block(page: str, start: str) -> str:
    """The block of code that begins like this."""
    (found,) = re.findall(rf"^```\w*\n({re.escape(start)}.*?)^```", page, re.MULTILINE | re.DOTALL)
    return found


def test_the_commands_validate(page, compose):
    joined = page.replace("\\\n", " ")
    commands = re.findall(r"^python -m ssl_rot\.run (.*)", joined, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        words = [word for word in shlex.split(command) if word != "--multirun"]
        words = [word.replace("rotation,supervised", "rotation") for word in words]
        validate(compose(*(word.replace("range(5)", "1") for word in words)))


def test_the_table_made_with_pandas_can_be_read(page, tmp_path, monkeypatch, write_images):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "arrow")
    monkeypatch.chdir(tmp_path)
    for name in ("rose", "tulip"):
        write_images(tmp_path / "pictures" / name, 5)
        for path in (tmp_path / "pictures" / name).iterdir():
            Image.open(path).save(path.with_suffix(".jpg"))
    exec(block(page, "from pathlib import Path"), {})
    source = huggingface("pictures.parquet", "image", "label", 8, test_fraction=0.2)
    assert source.classes == ("rose", "tulip")
    assert (len(source.train), len(source.test)) == (8, 2)


def test_the_csv_has_the_layout_that_is_read(page, tmp_path, write_images):
    text = block(page, "path,label,split")
    lines = text.splitlines()
    lines += ["0004.jpg,tulip,train"]  # the excerpt has one class to train on
    write_images(tmp_path / "more", 4)
    for i, line in enumerate(lines[1:]):
        path = tmp_path / line.partition(",")[0]
        (tmp_path / "more" / f"{i}.png").rename(path)
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    source = image_folder(tmp_path, 8, labels="labels.csv")
    assert source.train.labels.tolist() == [0, -1, 1]
    assert source.test.labels.tolist() == [1]
