"""A SLURM cluster of one node on this machine, as Debian's slurm-wlm and munge make it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

_CONF = """
ClusterName=ssl_rot
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
# A requeued job waits until its credential has expired, by default for two minutes.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,batch_sched_delay=0,bf_interval=1
JobRequeue=1
ReturnToService=2
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=20000
PartitionName=main Nodes=ALL Default=YES State=UP
"""


def run(*command: str) -> str:
    """What a command prints; it must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def wait_for(condition: Callable[[], object], seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture(scope="session")
def cluster(
    tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]
) -> Iterator[Callable[..., str]]:
    """Starts the cluster, for all commands of this session; ``cluster("scancel", "1")`` runs one.

    It has no accounting, as many clusters: ``sacct`` fails.
    """
    missing = [name for name in ("munged", "slurmctld", "slurmd") if shutil.which(name) is None]
    if missing or os.getuid() != 0:
        pytest.skip("apt-get install slurm-wlm munge, as root")
    folder, host = tmp_path_factory.mktemp("slurm"), socket.gethostname()
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key, conf = folder / "munge.key", folder / "slurm.conf"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    munge_socket = folder / "munge.socket"
    conf.write_text(_CONF.format(host=host, folder=folder, ports=[free_port(), free_port()]))
    daemons = (
        [
            *("munged", "--foreground", "--force", f"--key-file={key}", f"--socket={munge_socket}"),
            *(f"--{kind}-file={folder}/munged.{kind}" for kind in ("pid", "log", "seed")),
        ],
        ["slurmctld", "-D", "-c"],
        ["slurmd", "-D"],
    )
    with ExitStack() as stack:
        stack.enter_context(_environment(SLURM_CONF=str(conf)))
        for command in daemons:
            with (folder / f"{command[0]}.out").open("wb") as output:
                daemon = subprocess.Popen(command, stdout=output, stderr=output)
            stack.callback(_end, daemon)
            wait_for(munge_socket.exists)
        wait_for(lambda: run("sinfo", "--noheader", "--format=%T").strip() == "idle")
        yield run
        run("scancel", "--me")
        wait_for(lambda: not run("squeue", "--noheader"))


def _end(daemon: subprocess.Popen[bytes]) -> None:
    daemon.terminate()
    try:
        daemon.wait(20)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


class _environment:
    """Sets environment variables, for processes that are started inside the block."""

    def __init__(self, **values: str) -> None:
        self._patch, self._values = pytest.MonkeyPatch(), values

    def __enter__(self) -> None:
        for name, value in self._values.items():
            self._patch.setenv(name, value)

    def __exit__(self, *details: object) -> None:
        self._patch.undo()
