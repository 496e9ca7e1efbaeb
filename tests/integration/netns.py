"""Network namespaces for tests: a "host" in which a service runs as if it were alone on a machine, and an "outside" joined to it.

with lab("networks") as (host, outside):
    host.run("ip", "addr")           # a program in there
    with host.entered(): ...         # the calling thread in there (open sockets, start services)
"""

import contextlib
import os
import secrets
import subprocess
from collections.abc import Iterator

from skerry.core import linux

HOST_ADDRESS = "203.0.113.1"
OUTSIDE_ADDRESS = "203.0.113.2"


class Namespace:
    """A named network namespace, or any that is kept at a path."""

    def __init__(self, path: str) -> None:
        self.path = path

    def argv(self, *argv: str) -> list[str]:
        """Returns argv so that it runs in here."""
        return ["nsenter", f"--net={self.path}", *argv]

    def run(self, *argv: str, check: bool = True, stdin: str | None = None) -> str:
        """Runs a program in here and returns its stdout."""
        result = subprocess.run(self.argv(*argv), check=False, input=stdin, capture_output=True, text=True, timeout=30)
        if check and result.returncode:
            raise AssertionError(f"{argv} failed ({result.returncode}): {result.stderr}")
        return result.stdout

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Puts the calling thread in here for the body. Threads started in the body stay in here."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(self.path, os.O_RDONLY)
        try:
            linux.setns(there, linux.CLONE_NEWNET)
            yield
        finally:
            linux.setns(home, linux.CLONE_NEWNET)
            os.close(there)
            os.close(home)

    def devices(self, prefix: str = "veth") -> list[str]:
        """Returns the names of devices in here that begin so."""
        lines = self.run("ip", "-o", "link").splitlines()
        names = [line.split(": ")[1].partition("@")[0] for line in lines]
        return [name for name in names if name.startswith(prefix)]


@contextlib.contextmanager
def namespace(prefix: str) -> Iterator[Namespace]:
    """Makes a namespace with lo up; removes it at the end."""
    name = f"{prefix}-{secrets.token_hex(4)}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    made = Namespace(f"/run/netns/{name}")
    try:
        made.run("ip", "link", "set", "lo", "up")
        yield made
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


@contextlib.contextmanager
def lab(prefix: str) -> Iterator[tuple[Namespace, Namespace]]:
    """Makes host (HOST_ADDRESS, default route to the outside) and outside (OUTSIDE_ADDRESS), joined by a cable."""
    with namespace(f"{prefix}-h") as host, namespace(f"{prefix}-o") as outside:
        host.run("ip", "link", "add", "wan0", "type", "veth", "peer", "name", "eth0", "netns", outside.path.rpartition("/")[2])
        host.run("ip", "addr", "add", f"{HOST_ADDRESS}/24", "dev", "wan0")
        host.run("ip", "link", "set", "wan0", "up")
        outside.run("ip", "addr", "add", f"{OUTSIDE_ADDRESS}/24", "dev", "eth0")
        outside.run("ip", "link", "set", "eth0", "up")
        host.run("ip", "route", "add", "default", "via", OUTSIDE_ADDRESS)
        yield host, outside
