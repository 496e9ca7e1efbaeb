"""python -m tests.guest: boots Debian with pure cgroup v2 and systemd in an emulated machine and tries the engine there. Prints a table.

Nothing is installed here: the emulator, the kernel and a minimal Debian are unpacked below .cache/guest. Takes about eight minutes, since
the machine is emulated in software. Needs root (file owners in the disk image), apt's lists, mmdebstrap, dpkg, mke2fs.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from guest import image, packages

_CACHE = Path(__file__).parents[2] / ".cache/guest"
_PATIENCE = 3600


def main() -> None:
    """Makes what is missing, boots, prints the results; exit status 1 when one is bad or the guest did not come to its end."""
    _CACHE.mkdir(parents=True, exist_ok=True)
    emulator, kernel, root = packages.emulator(_CACHE), packages.kernel(_CACHE), packages.root(_CACHE)
    tree = image.tree(root, kernel, _CACHE)
    image.initramfs(tree, _CACHE / "initramfs.gz")
    image.disk(tree, _CACHE / "disk.ext4")
    shutil.rmtree(tree)
    results = boot(emulator, kernel)
    rows = [(what, "ok" if good else "FAILED", detail) for what, good, detail in results if what != "end"]
    print("| in the guest | result | |\n|---|---|---|")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    whole = any(what == "end" for what, _, _ in results)
    if not whole:
        print(f"the guest did not come to its end: {_CACHE / 'console.log'}")
    raise SystemExit(0 if whole and all(good for _, good, _ in results) else 1)


def boot(emulator: Path, kernel: Path) -> list[tuple[str, bool, str]]:
    """Runs the machine until it is switched off; returns what it told."""
    (image_file,) = (kernel / "boot").glob("vmlinuz-*")
    libraries = [str(path) for path in (emulator / "usr/lib/x86_64-linux-gnu", emulator / "lib/x86_64-linux-gnu") if path.exists()]
    argv = [
        str(emulator / "usr/bin/qemu-system-x86_64"), "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "2048",
        "-L", str(emulator / "usr/share/qemu"), "-L", str(emulator / "usr/share/seabios"), "-vga", "none", "-display", "none",
        "-nic", "none",
        "-kernel", str(image_file), "-initrd", str(_CACHE / "initramfs.gz"),
        "-append",
        "console=ttyS0 panic=-1 systemd.show_status=0 systemd.unified_cgroup_hierarchy=1 systemd.mask=serial-getty@ttyS0.service",
        "-drive", f"file={_CACHE / 'disk.ext4'},format=raw,if=virtio,cache=unsafe", "-device", "virtio-rng-pci",
        "-serial", "stdio", "-monitor", "none",
    ]  # fmt: skip
    console = _CACHE / "console.log"
    started = time.monotonic()
    results: list[tuple[str, bool, str]] = []
    environ = {**os.environ, "LD_LIBRARY_PATH": ":".join(libraries)}
    with (
        console.open("w", encoding="utf-8") as log,
        subprocess.Popen(
            argv, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as machine,
    ):
        assert machine.stdout is not None
        watch = subprocess.Popen([sys.executable, "-c", f"import os, time; time.sleep({_PATIENCE}); os.kill({machine.pid}, 9)"])
        try:
            for line in machine.stdout:
                log.write(line)
                log.flush()
                if line.startswith("RESULT "):
                    what, good, detail = json.loads(line.removeprefix("RESULT "))
                    results.append((what, good, detail))
                    print(
                        f"{time.monotonic() - started:6.0f} s  {'ok' if good else 'FAILED'}  {what}: {detail[:200]}",
                        file=sys.stderr,
                        flush=True,
                    )
        finally:
            machine.kill()
            watch.kill()
            watch.wait()
    return results


if __name__ == "__main__":
    main()
