"""``python -m ssl_rot.export RUN --to FOLDER``: a folder that others can load, and a model card."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from ssl_rot.errors import EXIT_STATUS, UserError


@dataclass(frozen=True)
class Options:
    """What to export, and where to.

    Args:
        run_id: of a finished downstream run.
        onnx: also write an ONNX graph; likewise ``pt2``, a graph of torch.export.
        license_id: as the Hugging Face Hub names it, such as ``mit``.
        push: the repository on the Hub to upload the folder to.
    """

    run_id: str
    folder: Path
    onnx: bool
    pt2: bool
    license_id: str
    push: str | None


def export(options: Options) -> list[Path]:
    """Writes the folder, completely or not at all, and uploads it if asked to.

    Returns:
        Its files.

    Raises:
        UserError: there is no such run, or no such format, or the folder is in use; or the upload
            failed, after the folder was written.
    """
    from ssl_rot.deploy import card, folder, graphs, hub, layout
    from ssl_rot.deploy.trained import load_trained
    from ssl_rot.report.run_cells import describe_cells
    from ssl_rot.tracking.runs import ExistingStore, StoredRuns

    target = options.folder
    folder.check_target(target)
    if options.onnx:
        graphs.check_onnx()
    if options.push is not None:
        hub.check_hub(options.push)
    store = ExistingStore.of_run(options.run_id)
    trained = load_trained(StoredRuns(store), options.run_id)
    classifier = trained.classifier
    experiment = trained.config["tracking"]["experiment_name"]
    command = shlex.join(["python", "-m", "ssl_rot.report", f"experiment_name={experiment}"])
    table = describe_cells(store.uri, experiment, options.run_id)
    with folder.FolderWriter(target) as writer:
        config = folder.write_model(trained, options.license_id, writer.folder)
        if options.pt2 or options.onnx:
            program = graphs.trace(classifier)
            if options.pt2:
                graphs.write_pt2(program, classifier.classes, writer.folder / layout.PT2_FILE)
            if options.onnx:
                graphs.write_onnx(program, classifier.classes, writer.folder / layout.ONNX_FILE)
        names = {path.name for path in writer.folder.iterdir()}
        comparison = card.Comparison(table, command)
        text = card.write_card(trained, config, names, comparison, options.license_id)
        folder.write_card(text, writer.folder)
        writer.publish()
    files = [target / name for name in layout.FILES if (target / name).exists()]
    if options.push is not None:
        print(hub.push(target, options.push, f"Run {options.run_id}, exported by ssl_rot"))
    return files


def main() -> None:
    """The command ``python -m ssl_rot.export``."""
    parser = argparse.ArgumentParser(
        prog="python -m ssl_rot.export",
        description="Writes a finished run as a folder of config.json, model.safetensors and a "
        "model card, as timm and the Hugging Face Hub have them. python -m ssl_rot.predict takes "
        "the folder in place of the run.",
    )
    parser.add_argument(
        "run",
        metavar="RUN",
        help="the id of a finished downstream run in MLFLOW_TRACKING_URI or mlflow.db here",
    )
    parser.add_argument(
        "--to",
        metavar="FOLDER",
        required=True,
        type=Path,
        help="a new or an empty folder, or an earlier export, which is replaced",
    )
    parser.add_argument(
        "--onnx", action="store_true", help="also write model.onnx, with the preprocessing in it"
    )
    parser.add_argument(
        "--pt2",
        action="store_true",
        help="also write model.pt2 for torch.export.load, with the preprocessing in it",
    )
    parser.add_argument(
        "--license",
        metavar="ID",
        default="unknown",
        help="of the weights, as the Hugging Face Hub names it: mit, apache-2.0, cc-by-4.0, ...",
    )
    parser.add_argument(
        "--push",
        metavar="REPO",
        help="upload the folder to this repository of the Hugging Face Hub, which is created, "
        "private, if it is missing",
    )
    given = parser.parse_args()
    try:
        options = Options(given.run, given.to, given.onnx, given.pt2, given.license, given.push)
        for path in export(options):
            print(path)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(EXIT_STATUS)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
