"""Names of console sockets that the OCI runtime can reach: one has 107 bytes at most, and runc connects by the name it is given."""

import os
import shutil

from skerry.containers.runtime import Runtime

_LONGEST = 107


def console(runtime: Runtime, directory: str, identifier: str) -> str:
    """Returns a short enough name of directory/console.sock, through a link that `forget` takes away. Blocks briefly."""
    name = f"{directory}/console.sock"
    if len(os.fsencode(name)) <= _LONGEST:
        return name
    link = _link(runtime, identifier)
    os.makedirs(os.path.dirname(link), mode=0o700, exist_ok=True)
    forget(runtime, identifier)
    os.symlink(directory, link)
    return f"{link}/console.sock"


def forget(runtime: Runtime, identifier: str) -> None:
    """Removes the link, if there is one: once the runtime has run."""
    try:
        os.unlink(_link(runtime, identifier))
    except FileNotFoundError:
        return


def forget_all(runtime: Runtime) -> None:
    """Removes every link: of starts that a killed service left half-made."""
    shutil.rmtree(_folder(runtime), ignore_errors=True)


def _folder(runtime: Runtime) -> str:
    return f"{os.path.dirname(runtime.directory)}/tty"


def _link(runtime: Runtime, identifier: str) -> str:
    return f"{_folder(runtime)}/{identifier[:16]}"
