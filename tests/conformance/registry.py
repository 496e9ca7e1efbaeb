"""A registry inside an engine's network namespace: where `pull` pulls from."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from engines import Engine

from .waiting import wait_until

PORT = 5000
ADDRESS = f"127.0.0.1:{PORT}"
_CONFIG = """version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {root}}}}}
http: {{addr: "{address}"}}
"""


class Registry:
    """Made by `registry`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def push(self, archive: str, name: str, image: str = "") -> None:
        """Puts the image of a docker-archive (of several: the one so tagged) into the registry under name (repository:tag)."""
        source = f"docker-archive:{archive}:{image}" if image else f"docker-archive:{archive}"
        self._engine.inside(
            "skopeo", "copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false", source, f"docker://{ADDRESS}/{name}"
        )

    def answers(self) -> bool:
        """Tells whether the registry serves its API."""
        return self._engine.inside("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", f"http://{ADDRESS}/v2/", check=False) == "200"


@contextlib.contextmanager
def registry(engine: Engine, folder: str) -> Iterator[Registry]:
    """Runs docker-registry on 127.0.0.1:5000 of the engine's namespace, with its data in folder."""
    program = shutil.which("docker-registry")
    assert program, "docker-registry is missing: make setup-test unpacks it"
    config = Path(folder) / "config.yml"
    config.write_text(_CONFIG.format(root=folder, address=ADDRESS), encoding="ascii")
    process = subprocess.Popen([*engine.nsenter(), program, "serve", str(config)], stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        one = Registry(engine)
        wait_until(one.answers, "the registry answers")
        yield one
    finally:
        process.terminate()
        process.wait()
