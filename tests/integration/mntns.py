"""Tests in a mount namespace of their own: crun needs one without `unified` on hybrid hosts, and mounts vanish with it.

    @pytest.mark.root
    @private_mounts
    async def test_something(tmp_path): ...

The body runs in a fresh Python process (no threads exist yet when it unshares), in a network namespace of its own too. Arguments must
be tmp_path or plain JSON values.
"""

import asyncio
import functools
import importlib.util
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_HERE = os.path.abspath(__file__)
_TESTS = os.path.dirname(os.path.dirname(_HERE))


def private_mounts(test: Callable[..., Any]) -> Callable[..., None]:
    """Decorates a test, sync or async."""

    @functools.wraps(test)
    def in_child(**arguments: Any) -> None:
        plain = {key: str(value) if isinstance(value, Path) else value for key, value in arguments.items()}
        path = os.pathsep.join([os.path.join(os.path.dirname(_TESTS), "services"), _TESTS])
        child = subprocess.run(
            [sys.executable, _HERE, inspect.getfile(test), test.__name__, json.dumps(plain)],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
        assert child.returncode == 0, f"in its own mount namespace:\n{child.stdout}{child.stderr}"

    return in_child


def enter() -> None:
    """Gives this single-threaded process its own mounts and network, and hides the unified hierarchy of a hybrid host."""
    from skerry.core import linux

    linux.unshare(linux.CLONE_NEWNS | linux.CLONE_NEWNET)
    linux.mount("none", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
    if os.path.ismount("/sys/fs/cgroup/unified"):
        linux.unmount("/sys/fs/cgroup/unified")


def new_netns(path: str) -> str:
    """Makes a network namespace bound at path; it goes with the mount namespace."""
    Path(path).touch()
    subprocess.run(["unshare", f"--net={path}", "true"], check=True)
    return path


def _main() -> None:
    file, name, plain = sys.argv[1:4]
    enter()
    spec = importlib.util.spec_from_file_location("test_in_private_mounts", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    test = inspect.unwrap(getattr(module, name))
    arguments = {key: Path(value) if key == "tmp_path" else value for key, value in json.loads(plain).items()}
    result = test(**arguments)
    if inspect.isawaitable(result):
        asyncio.run(result)


if __name__ == "__main__":
    _main()
