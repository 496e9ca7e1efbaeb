"""Warming: the keeper runs the monitor's code before it forks, so that monitors share what the interpreter writes at first runs."""

import gc
import json
import os
import select
import socket

from skerry.containers.monitor import monitor, protocol, runtime

_RUNS = 30


def warm(run: str) -> None:
    """Runs the monitor's code in this process: what the interpreter writes at first runs is then shared by all forked monitors."""
    directory = f"{run}/keeper.warm"
    _remove_tree(directory)
    os.mkdir(directory, 0o700)
    script = f"sleep 0.001 & echo $! > {directory}/pid; echo warm; echo cold >&2"
    job = {
        "create": ["sh", "-c", script],
        "start": ["true"],
        "pid_file": f"{directory}/pid",
        "tty": False,
        "stdin": True,
        "spool": f"{directory}/spool",
        "quota": 1 << 20,
        "blocking": True,
        "segment": 4096,
        "rows": 0,
        "columns": 0,
        "end_frame": True,
        "drain_seconds": 1.0,
    }
    for number in range(_RUNS):
        with open(f"{directory}/monitor.json", "w") as file:
            json.dump(dict(job, run=number), file)
        _run_once(directory)
    _remove_tree(directory)
    gc.collect()
    gc.freeze()


def _run_once(directory: str) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    one = monitor.Monitor(monitor.read_job(directory), runtime.listen_in(directory), ours, "")
    client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    client.connect(f"{directory}/{protocol.SOCKET}")

    def drive(fd: int, _events: int) -> None:
        message = client.recv(protocol.MESSAGE_LIMIT)
        phase = "" if message[:1] == protocol.TAKEN else json.loads(message)["phase"]
        if phase == protocol.CREATED:
            client.send(protocol.request("start"))
        elif phase in (protocol.EXITED, protocol.FAILED):
            one.loop.forget(fd)
            client.close()

    for packet in (protocol.request("create"), protocol.STDIN + b"x", protocol.request("close_stdin")):
        client.send(packet)
    one.loop.watch(client.fileno(), select.EPOLLIN, drive)
    one.run()
    theirs.close()


def _remove_tree(directory: str) -> None:
    for path, _, names in os.walk(directory, topdown=False):
        for name in names:
            os.unlink(f"{path}/{name}")
        os.rmdir(path)
