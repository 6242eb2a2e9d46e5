"""The pretext task in CONTRIBUTING.md, as it stands there."""

import re

import torch

from ssl_rot.models import linear_head
from tests.conftest import TINY, TINY_MODEL

BLOCK = re.compile(r"```(?:python|yaml)\n# (my_(?:pretext\.py|conf/pretext/\S+))\n(.*?)```", re.S)


def test_the_jigsaw_of_contributing(
    call_main, make_store, all_runs, checkout, tmp_path, own_module
):
    text = (checkout / "CONTRIBUTING.md").read_text()
    blocks = dict(BLOCK.findall(text))
    assert set(blocks) == {"my_pretext.py", "my_conf/pretext/jigsaw.yaml"}
    assert sum(len(block.splitlines()) for block in blocks.values()) < 30
    own = own_module("my_pretext", blocks["my_pretext.py"])
    option = tmp_path / "my_conf" / "pretext" / "jigsaw.yaml"
    option.parent.mkdir(parents=True)
    option.write_text(blocks["my_conf/pretext/jigsaw.yaml"])
    uri = make_store(tmp_path)
    command = ("--config-dir", str(tmp_path / "my_conf"), "pretext=jigsaw")
    status, output = call_main(*command, *TINY, *TINY_MODEL, f"tracking.uri={uri}")
    assert status == 0, output
    runs = {run.data.tags["ssl_rot.phase"]: run for run in all_runs(uri)}
    assert {run.data.tags["ssl_rot.arm"] for run in runs.values()} == {"jigsaw"}
    assert 0 <= runs["pretext"].data.metrics["pretext/test_acc"] <= 1

    # What the page says of it: every quarter is there, in the order of the target.
    images = torch.arange(2 * 3 * 6 * 6.0).view(2, 3, 6, 6)
    task = own.Jigsaw(name="jigsaw", schedule=None, loss=None)
    inputs, targets = task.batch(images, torch.Generator().manual_seed(0))
    for before, after, target in zip(images, inputs, targets.tolist(), strict=True):
        corners = [(row, column) for row in (0, 3) for column in (0, 3)]
        for (row, column), source in zip(corners, own.ORDERS[target].tolist(), strict=True):
            y, x = corners[source]
            expected = before[:, y : y + 3, x : x + 3]
            assert torch.equal(after[:, row : row + 3, column : column + 3], expected)
    backbone = type("Backbone", (), {"out_channels": 5})
    assert task.head(backbone)[-1].out_features == linear_head(5, 24)[-1].out_features
