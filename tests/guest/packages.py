"""Debian packages for the guest: downloaded by apt, unpacked by dpkg and mmdebstrap, never installed on this machine."""

import hashlib
import platform
import re
import shutil
import subprocess
from pathlib import Path

_EMULATOR = "qemu-system-x86"
_KERNEL = "linux-image-cloud-amd64"
_ROOT = "systemd,systemd-sysv,dbus,kmod,python3,crun,nftables,iproute2,procps,busybox-static,iptables,ca-certificates,util-linux,mount"


def run(*argv: str, cwd: Path | None = None) -> str:
    """Returns stdout; a program that fails ends everything with what it said."""
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(argv)} failed: {done.stderr.strip()[-2000:]}")
    return done.stdout


def emulator(cache: Path) -> Path:
    """Unpacks qemu and the libraries of it that this machine lacks; returns the directory."""
    place = cache / "qemu"
    if not (place / ".done").exists():
        plan = run("apt-get", "install", "-s", "--no-install-recommends", _EMULATOR)
        names = re.findall(r"^Inst (\S+)", plan, re.MULTILINE)
        _unpack(names or [_EMULATOR], cache / "qemu-debs", place)
        (place / ".done").touch()
    return place


def kernel(cache: Path) -> Path:
    """Unpacks Debian's kernel for virtual machines; returns the directory, which has boot/vmlinuz-* and lib/modules."""
    place = cache / "kernel"
    if not (place / ".done").exists():
        found = re.search(r"Depends: (linux-image-\S+)", run("apt-cache", "depends", _KERNEL))
        if found is None:
            raise SystemExit(f"apt knows no {_KERNEL}: run apt-get update")
        _unpack([found[1]], cache / "kernel-debs", place)
        (place / ".done").touch()
    return place


def root(cache: Path) -> Path:
    """Makes a minimal Debian of this machine's release, with systemd; returns it as a tar."""
    release = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    tar = cache / f"root-{release}-{hashlib.sha256(_ROOT.encode()).hexdigest()[:8]}.tar"
    if not tar.exists():
        partial = tar.with_suffix(".part.tar")
        run("mmdebstrap", "--quiet", "--variant=minbase", f"--include={_ROOT}", release, str(partial))
        partial.rename(tar)
    return tar


def _unpack(names: list[str], debs: Path, place: Path) -> None:
    shutil.rmtree(debs, ignore_errors=True)
    shutil.rmtree(place, ignore_errors=True)
    debs.mkdir(parents=True)
    run("apt-get", "download", "-qq", *names, cwd=debs)
    for deb in sorted(debs.glob("*.deb")):
        run("dpkg", "-x", str(deb), str(place))
    shutil.rmtree(debs)
