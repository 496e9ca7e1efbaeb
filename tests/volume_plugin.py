"""A small volume plugin that speaks Docker's plugin protocol, for tests: volumes are tmpfs mounts below its directory.

python tests/volume_plugin.py --directory DIR (--socket PATH | --port PORT [--certificate FILE --key FILE]) [--scope global]

Every call is a line of DIR/calls: [method, request]. DIR/behaviour, if there is one, says for methods what to do instead:
{"VolumeDriver.Mount": {"err": TEXT} or {"status": N, "body": TEXT} or {"sleep": SECONDS} or {"drop": true}}.
"""

import argparse
import asyncio
import contextlib
import json
import os
import secrets
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aiohttp import web


class Plugin:
    """The volumes and who mounted them."""

    def __init__(self, directory: str, scope: str) -> None:
        self._directory = directory
        self._scope = scope
        self._users: dict[str, set[str]] = {}
        self._options: dict[str, dict[str, str]] = {}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answers one call."""
        method, body = request.path.removeprefix("/"), await request.text()
        with open(f"{self._directory}/calls", "a", encoding="utf-8") as calls:
            calls.write(json.dumps([method, json.loads(body or "{}")]) + "\n")
        wanted = self._behaviour().get(method, {})
        await asyncio.sleep(wanted.get("sleep", 0))
        if wanted.get("drop"):
            assert request.transport is not None
            request.transport.close()
        if "status" in wanted:
            return web.Response(status=wanted["status"], text=wanted.get("body", ""))
        answer = {"Err": wanted["err"]} if "err" in wanted else self._answer(method, json.loads(body or "{}"))
        return web.json_response(answer, content_type="application/vnd.docker.plugins.v1.2+json")

    def unmount_all(self) -> None:
        """Unmounts what is mounted."""
        for name in list(self._users):
            self._users[name].clear()
            self._unmount(name)

    def _behaviour(self) -> dict[str, Any]:
        try:
            with open(f"{self._directory}/behaviour", encoding="utf-8") as file:
                found: dict[str, Any] = json.load(file)
                return found
        except FileNotFoundError:
            return {}

    def _path(self, name: str) -> str:
        return f"{self._directory}/volumes/{name}"

    def _volume(self, name: str) -> dict[str, Any]:
        mounted = self._path(name) if self._users.get(name) else ""
        return {
            "Name": name,
            "Mountpoint": mounted,
            "CreatedAt": "2026-01-02T03:04:05Z",
            "Status": {"users": len(self._users.get(name, ()))},
        }

    def _answer(self, method: str, body: dict[str, Any]) -> dict[str, Any]:
        name = body.get("Name", "")
        if method == "Plugin.Activate":
            return {"Implements": ["VolumeDriver"]}
        if method == "VolumeDriver.Capabilities":
            return {"Capabilities": {"Scope": self._scope}}
        if method == "VolumeDriver.List":
            return {"Volumes": [self._volume(each) for each in sorted(os.listdir(f"{self._directory}/volumes"))]}
        if method == "VolumeDriver.Create":
            os.makedirs(self._path(name), exist_ok=True)
            self._options[name] = body.get("Opts") or {}
            return {}
        if not os.path.isdir(self._path(name)):
            return {"Err": f"no volume {name} here"}
        return self._of_one(method, name, body)

    def _of_one(self, method: str, name: str, body: dict[str, Any]) -> dict[str, Any]:
        if method == "VolumeDriver.Get":
            return {"Volume": self._volume(name)}
        if method == "VolumeDriver.Remove":
            os.rmdir(self._path(name))
            return {}
        if method == "VolumeDriver.Mount":
            if not self._users.get(name):
                subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "plugin", self._path(name)], check=True)
            self._users.setdefault(name, set()).add(body["ID"])
            return {"Mountpoint": self._path(name)}
        if method == "VolumeDriver.Unmount":
            self._users.get(name, set()).discard(body["ID"])
            self._unmount(name)
            return {}
        return {"Mountpoint": self._volume(name)["Mountpoint"]} if method == "VolumeDriver.Path" else {"Err": f"unknown method {method}"}

    def _unmount(self, name: str) -> None:
        if not self._users.get(name) and os.path.ismount(self._path(name)):
            subprocess.run(["umount", "-l", self._path(name)], check=True)


class RunningPlugin:
    """The program under a name, as an engine knows it."""

    def __init__(self, name: str, directory: str) -> None:
        self.name, self.directory = name, directory

    def behave(self, **methods: dict[str, Any]) -> None:
        """Sets what VolumeDriver's methods do from now on; nothing: what they should."""
        part = Path(f"{self.directory}/behaviour.part")
        part.write_text(json.dumps({f"VolumeDriver.{method}": what for method, what in methods.items()}))
        part.rename(f"{self.directory}/behaviour")

    def calls(self, *methods: str) -> list[tuple[str, dict[str, Any]]]:
        """Returns the calls so far, of some methods when named."""
        path = Path(f"{self.directory}/calls")
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        found = [(method.removeprefix("VolumeDriver."), request) for method, request in lines]
        return [one for one in found if not methods or one[0] in methods]


@contextlib.contextmanager
def volume_plugin(directory: str, sockets: str, *words: str, name: str = "") -> Iterator[RunningPlugin]:
    """Runs the plugin with its socket in the directory `sockets`; with words "--port N" it listens there instead."""
    name = name or f"skp{secrets.token_hex(3)}"
    os.makedirs(f"{directory}/volumes", exist_ok=True)
    os.makedirs(sockets, exist_ok=True)
    path = f"{sockets}/{name}.sock"
    where = [] if "--port" in words else ["--socket", path]
    process = subprocess.Popen([sys.executable, __file__, "--directory", directory, *where, *words])
    try:
        deadline = time.monotonic() + 20
        while not os.path.exists(f"{directory}/ready"):
            assert process.poll() is None and time.monotonic() < deadline, "the plugin does not start"
            time.sleep(0.02)
        yield RunningPlugin(name, directory)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)
        for left in (path, f"{directory}/ready"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(left)


async def _main() -> None:
    parser = argparse.ArgumentParser()
    for word in ("--directory", "--socket", "--port", "--certificate", "--key", "--authority"):
        parser.add_argument(word)
    parser.add_argument("--scope", default="local")
    arguments = parser.parse_args()
    plugin = Plugin(arguments.directory, arguments.scope)
    app = web.Application()
    app.router.add_post("/{method}", plugin.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    if arguments.port:
        tls = None
        if arguments.certificate:
            tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=arguments.authority)
            tls.load_cert_chain(arguments.certificate, arguments.key)
            tls.verify_mode = ssl.CERT_REQUIRED
        await web.TCPSite(runner, "127.0.0.1", int(arguments.port), ssl_context=tls).start()
    else:
        await web.UnixSite(runner, arguments.socket).start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    Path(f"{arguments.directory}/ready").touch()
    await stop.wait()
    await runner.cleanup()
    plugin.unmount_all()


if __name__ == "__main__":
    asyncio.run(_main())
