"""``--push``: what arrives at a server that answers as the Hugging Face Hub does."""

from __future__ import annotations

import base64
import http.server
import json
import threading

import pytest

STORED = ("config.json", "model.onnx", "notes.md")  # of an earlier export, and of its owner


class StandIn(http.server.BaseHTTPRequestHandler):
    """The part of the Hub's API that an upload uses; takes every file within the commit."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server = self.server
        server.tokens.add(self.headers["Authorization"])
        if self.path == "/api/repos/create":
            server.created.append(json.loads(body))
            self.answer({"url": f"{server.uri}/me/flowers", "name": "me/flowers", "id": "1"})
        elif self.path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif self.path == "/api/models/me/flowers/preupload/main":
            names = [file["path"] for file in json.loads(body)["files"]]
            plain = {"uploadMode": "regular", "shouldIgnore": False, "oid": None}
            self.answer({"files": [{"path": name, **plain} for name in names]})
        elif self.path == "/api/models/me/flowers/commit/main" and server.accepts:
            lines = [json.loads(line) for line in body.splitlines()]
            files = [line["value"] for line in lines if line["key"] == "file"]
            server.deleted |= {
                line["value"]["path"] for line in lines if line["key"] == "deletedFile"
            }
            server.files |= {file["path"]: base64.b64decode(file["content"]) for file in files}
            url = f"{server.uri}/me/flowers/commit/abc"
            self.answer({"commitUrl": url, "commitOid": "a" * 40, "pullRequestUrl": None})
        else:
            self.answer({"error": "You may not write here."}, 403)

    def do_GET(self) -> None:
        assert self.path.startswith("/api/models/me/flowers/tree/main")
        self.answer([{"type": "file", "path": name, "size": 1, "oid": "0"} for name in STORED])

    def answer(self, content, status=200):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), StandIn)
    server.uri = f"http://127.0.0.1:{server.server_port}"
    server.files, server.created, server.tokens, server.accepts = {}, [], set(), True
    server.deleted = set()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def push(run_cli, photograph_run, hub, tmp_path):
    """In a process of its own: huggingface_hub reads its environment once."""

    def pushed(repository, expect):
        return run_cli(
            *(photograph_run.runs["downstream"].info.run_id, "--to", str(tmp_path / "out")),
            *("--push", repository),
            module=("-m", "ssl_rot.export"),
            expect=expect,
            MLFLOW_TRACKING_URI=f"sqlite:///{photograph_run.folder}/mlflow.db",
            HF_ENDPOINT=hub.uri,
            HF_TOKEN="hf_secret",
            HF_HOME=str(tmp_path / "hf"),
        )

    return pushed


def test_the_hub_gets_the_files_of_the_folder_in_a_private_repository(hub, push, tmp_path):
    done = push("flowers", 0)
    assert f"{hub.uri}/me/flowers/commit/abc" in done.stdout.splitlines()
    assert hub.files == {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert set(hub.files) == {"config.json", "model.safetensors", "README.md"}
    assert hub.deleted == {"model.onnx"}  # of other weights
    (created,) = hub.created
    assert created["name"] == "flowers"
    assert created.get("visibility") == "private" or created.get("private") is True
    assert hub.tokens == {"Bearer hf_secret"}


def test_a_refusal_is_one_message_and_leaves_the_folder(hub, push, tmp_path):
    hub.accepts = False
    done = push("flowers", 2)
    assert f"{tmp_path}/out is complete, but was not uploaded to me/flowers: " in done.stderr
    assert f"To try again: hf upload me/flowers {tmp_path}/out" in done.stderr
    assert "Traceback" not in done.stderr
    assert "hf_secret" not in done.stderr
    assert (tmp_path / "out/model.safetensors").exists()


def test_a_name_that_no_repository_can_have_is_refused_first(push, tmp_path):
    done = push("a b", 2)
    assert done.stderr.startswith("--push a b: ")
    assert not (tmp_path / "out").exists()
