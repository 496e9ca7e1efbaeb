"""The parts of one machine's engine: what is started, in which order, and how each is told where it lives."""

import importlib.util
import os
import sys

import msgspec

# Started in this order, stopped in the reverse: whoever calls others comes after them.
SERVICES = ("images", "logs", "networks", "containers", "gateway")
GATEWAY_SOCKET_FD = 3


class Places(msgspec.Struct, frozen=True):
    """Where one engine lives. Two engines with different places run side by side."""

    root: str
    run: str
    docker_socket: str

    @property
    def state(self) -> str:
        """File in which the supervisor notes what it started."""
        return f"{self.run}/supervisor.json"

    @property
    def lock(self) -> str:
        """File that the running supervisor holds locked."""
        return f"{self.run}/supervisor.lock"


def places(root: str | None = None, run: str | None = None) -> Places:
    """Returns the places from arguments, then SKERRY_ROOT and SKERRY_RUN, then the defaults."""
    root = root or os.environ.get("SKERRY_ROOT") or "/var/lib/skerry"
    run = run or os.environ.get("SKERRY_RUN") or "/run/skerry"
    socket = os.environ.get("SKERRY_DOCKER_SOCKET") or f"{run}/docker.sock"
    return Places(os.path.abspath(root), os.path.abspath(run), os.path.abspath(socket))


def command(service: str) -> list[str]:
    """Returns the argv of a service's process."""
    return [sys.executable, "-m", f"skerry.{service}"]


def environment(service: str, where: Places) -> dict[str, str]:
    """Returns the service's environment: ours, without other services' settings, with the places."""
    # SKERRY_FAILPOINTS and the like have no service in their name and go to all.
    other = tuple(f"SKERRY_{name.upper()}_" for name in SERVICES if name != service)
    environ = {key: value for key, value in os.environ.items() if not key.startswith(other)}
    environ |= {"SKERRY_ROOT": where.root, "SKERRY_RUN": where.run, "PYTHONUNBUFFERED": "1"}
    # A restarted service must import the same code, wherever the supervisor was started.
    environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    # glibc gives each thread an arena of its own otherwise; small services would keep tens of MB for nothing.
    environ.setdefault("MALLOC_ARENA_MAX", "2")
    if service == "gateway":
        environ["SKERRY_GATEWAY_SOCKET_FD"] = str(GATEWAY_SOCKET_FD)
    return environ


def keeper_command(where: Places) -> list[str] | None:
    """Returns the argv of the keeper, or None where the container runtime is not installed. Found without importing it."""
    spec = importlib.util.find_spec("skerry.containers")
    for folder in spec.submodule_search_locations or () if spec else ():
        if os.path.exists(os.path.join(folder, "monitor", "keeper.py")):
            services = os.path.dirname(os.path.dirname(folder))
            # Standard library only: no site-packages, so that its copies stay small.
            program = f"import sys; sys.path.insert(0, {services!r}); from skerry.containers.monitor.keeper import main; main()"
            return [sys.executable, "-I", "-S", "-E", "-c", program, "--run", where.run]
    return None
