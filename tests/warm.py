"""Starts Python commands without their imports: in processes forked from one that has them already.

Importing torch, MLflow and Hydra's plugins takes a process seconds, and the tests start dozens. The
forked process is what ``python -m ...`` makes otherwise: a session, a working directory, an
environment, arguments, and an exit status of its own. What is imported depends on none of these.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import itertools
import json
import logging
import multiprocessing.util
import os
import pkgutil
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from hydra.version import VersionBase

CHECKOUT = Path(__file__).resolve().parent.parent
# What a run imports on its way, and slowly; but for `ssl_rot.run`, which is its `__main__`.
IMPORTS = (
    *("hydra.main", "hydra._internal.hydra", "hydra.core.plugins", "mlflow.cli"),
    *("mlflow.store.tracking.sqlalchemy_store", "mlflow.store.artifact.local_artifact_repo"),
    *("mlflow.store.tracking.rest_store", "mlflow.store.artifact.mlflow_artifacts_repo"),
    *("matplotlib.figure", "matplotlib.backends.backend_agg", "sklearn.datasets", "scipy.stats"),
    *("mlflow.store.tracking.sqlalchemy_workspace_store", "mlflow.store.tracking.file_store"),
    *("sqlalchemy.dialects.sqlite", "git", "torch._dynamo", "torch.distributed.run"),
    *("hydra._internal.core_plugins.basic_launcher", "ssl_rot.config.validation"),
    *("ssl_rot.experiment.pipeline", "ssl_rot.experiment.resume"),
    *("ssl_rot.data", "ssl_rot.freeze", "ssl_rot.losses", "ssl_rot.models", "ssl_rot.pretext"),
    *("ssl_rot.schedules", "ssl_rot.sweep.callback", "ssl_rot.report"),
)


class Process:
    """A started command, with the methods of :class:`subprocess.Popen` that tests use.

    Args:
        pid: of the process, which leads a session and a process group of its own.
        output: the reading end of its stdout and stderr.
        status: where its exit status arrives.
    """

    def __init__(self, pid: int, output: int, status: int) -> None:
        self.pid, self.returncode = pid, None
        self._output, self._text = output, bytearray()
        self._status = os.fdopen(status, "rb", buffering=0)
        self._ended = threading.Event()
        # Read all the time: a full pipe would stop the process.
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        threading.Thread(target=self._await, daemon=True).start()

    returncode: int | None

    def _read(self) -> None:
        while piece := os.read(self._output, 65536):
            self._text += piece
        os.close(self._output)

    def _await(self) -> None:
        with self._status:
            answer = self._status.read()
        self.returncode = int(answer)
        self._ended.set()

    @property
    def output(self) -> str:
        """What it has printed until now."""
        return self._text.decode(errors="replace")

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0, bytes(self._text))
        assert self.returncode is not None
        return self.returncode

    def communicate(self, timeout: float) -> tuple[str, None]:
        """Waits until the process has ended, and all that share its output have closed it."""
        deadline = time.monotonic() + timeout
        self._reader.join(timeout)
        if self._reader.is_alive():
            raise subprocess.TimeoutExpired(str(self.pid), timeout, bytes(self._text))
        self.wait(max(0.1, deadline - time.monotonic()))
        return self.output, None

    def send_signal(self, signum: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, signum)


class Starter:
    """The client of a process that has everything imported, and is started by the first command."""

    def __init__(self) -> None:
        self._server: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._started: list[Process] = []

    def start(
        self,
        *command: str,
        cwd: Path,
        path: Sequence[Path | str] = (CHECKOUT,),
        descriptors: Mapping[str, int] | None = None,
        **environment: str,
    ) -> Process:
        """Starts ``python *command`` in a session of its own.

        Args:
            command: ``"-m", module, *arguments`` or ``script, *arguments``.
            cwd: where it runs.
            path: its ``PYTHONPATH``.
            descriptors: open files that the process inherits, and reads the numbers of from these
                environment variables.
            environment: besides this process's own.
        """
        connection = self._connect()
        own = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(map(str, path))}
        request = {
            "command": [str(word) for word in command],
            "cwd": str(cwd),
            "env": os.environ | own | environment,
            "passed": [*(passed := descriptors or {})],
        }
        (output, output_end), (status, status_end) = os.pipe(), os.pipe()
        socket.send_fds(connection, [b"\n"], [status_end, output_end, *passed.values()])
        connection.sendall(json.dumps(request).encode() + b"\n")
        os.close(output_end)
        os.close(status_end)
        self._started.append(Process(int(_line(status)), output, status))
        return self._started[-1]

    def _connect(self) -> socket.socket:
        if self._socket is None:
            self._socket, theirs = socket.socketpair()
            with theirs:
                self._server = subprocess.Popen(
                    [sys.executable, __file__, str(theirs.fileno())],
                    env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(CHECKOUT)},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
        return self._socket

    def close(self) -> None:
        """Kills what still runs, with all that it started, and ends the process it came from."""
        for process in self._started:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        if self._socket is not None and self._server is not None:
            self._socket.close()
            self._server.wait(timeout=60)


def _line(descriptor: int) -> bytes:
    """One line of an unbuffered file, and no byte of the next."""
    line = bytearray()
    while (byte := os.read(descriptor, 1)) not in (b"", b"\n"):
        line += byte
    return bytes(line)


def serve(connection: socket.socket) -> dict[str, Any]:
    """Answers requests until there are no more. In the started process: returns its request."""
    while True:
        first, descriptors, *_ = socket.recv_fds(connection, 1, 16)
        if not first:
            sys.exit()
        request: dict[str, Any] = json.loads(_line(connection.fileno()))
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass  # those that watched a process to its end
        if os.fork() == 0:
            connection.close()
            status, output, *passed = descriptors
            _watch(status, [output, *passed])
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.close(output)
            request["env"] |= dict(zip(request["passed"], map(str, passed), strict=True))
            return request
        for descriptor in descriptors:
            os.close(descriptor)


def _watch(status: int, descriptors: list[int]) -> None:
    """Forks: one process returns, ready to run; the other reports its id and its end."""
    started, ready = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        for descriptor in (status, started, ready):
            os.close(descriptor)
        return
    for descriptor in (*descriptors, ready):
        os.close(descriptor)
    os.read(started, 1)  # from here on the process leads a group that can be killed
    os.write(status, f"{pid}\n".encode())
    _, code = os.waitpid(pid, 0)
    os.write(status, str(os.waitstatus_to_exitcode(code)).encode())
    os._exit(0)


def fork_servers_too() -> None:
    """Makes the fork server of a sweep a fork as well, of the command that starts it.

    Without what Hydra and logging keep of that command: the server starts with nothing of it.
    """
    spawn = multiprocessing.util.spawnv_passfds

    def start(path: bytes, arguments: Sequence[str], descriptors: Sequence[int]) -> int:
        program = arguments[-1]
        if "multiprocessing.forkserver" not in program:
            return spawn(path, arguments, descriptors)
        pid = os.fork()
        if pid:
            return pid
        try:
            kept = sorted({0, 1, 2, *descriptors})
            for one, other in itertools.pairwise([*kept, os.sysconf("SC_OPEN_MAX")]):
                os.closerange(one + 1, other)
            logging.root.handlers.clear()
            version = Singleton._instances.get(VersionBase)
            Singleton._instances.clear()
            if version is not None:  # set where hydra.main decorates, which a new process does
                Singleton._instances[VersionBase] = version
            sys.argv = ["-c"]
            exec(program, {})
        except SystemExit:  # nobody needs it any more
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        os._exit(1)

    multiprocessing.util.spawnv_passfds = start


def become(request: dict[str, Any], own_path: list[str]) -> None:
    """Runs the command of a request, as Python does after it has started."""
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    tempfile.tempdir = None
    importlib.invalidate_caches()
    paths = [path for path in os.environ["PYTHONPATH"].split(os.pathsep) if path]
    first, *rest = request["command"]
    if first == "-m":
        sys.path[:] = [os.getcwd(), *paths, *own_path]
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.path[:] = [str(Path(first).parent), *paths, *own_path]
        sys.argv = [first, *rest]
        runpy.run_path(first, run_name="__main__")


def main() -> None:
    own_path = [path for path in sys.path[1:] if path != str(CHECKOUT)]
    for name in IMPORTS:
        try:
            importlib.import_module(name)
        except ImportError:
            if name.startswith("ssl_rot"):
                raise  # of the others another version may lack one, which only costs time
    with contextlib.suppress(ImportError):
        import hydra_plugins

        for _, name, _ in pkgutil.walk_packages(hydra_plugins.__path__, "hydra_plugins."):
            with contextlib.suppress(Exception):  # one that Hydra leaves out, too
                importlib.import_module(name)
    fork_servers_too()
    gc.freeze()
    become(serve(socket.socket(fileno=int(sys.argv[1]))), own_path)


if __name__ == "__main__":
    main()
