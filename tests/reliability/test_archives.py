"""What is unpacked stays in its folder."""

from __future__ import annotations

import tarfile

import pytest
from torchvision.datasets.utils import extract_archive

from ssl_rot.data.torchvision_datasets import _load_or_download
from ssl_rot.errors import DataError


@pytest.mark.parametrize("name", ["../outside.txt", "/{}/outside.txt"])
def test_an_archive_cannot_leave_its_folder(tmp_path, name):
    root = tmp_path / "data"
    root.mkdir()
    (tmp_path / "payload").write_text("x")
    with tarfile.open(root / "set.tar", "w") as archive:
        archive.add(tmp_path / "payload", name.format(tmp_path))

    def read(folder, split, download=False):
        if not download:
            raise RuntimeError("not there")
        extract_archive(str(folder / "set.tar"))
        return []

    if name.startswith("/"):  # the leading slash is dropped
        _load_or_download(read, ["train"], root, ["x"])
    else:
        with pytest.raises(DataError, match="outside"):
            _load_or_download(read, ["train"], root, ["x"])
    assert not (tmp_path / "outside.txt").exists()
