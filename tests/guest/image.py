"""What the guest boots from: an initramfs that finds the disk, and a disk with Debian, the engine and its tests."""

import gzip
import io
import os
import shutil
import sysconfig
from pathlib import Path

from guest.packages import run

_PROJECT = Path(__file__).parents[2]
_DISK = "4G"
# What must be loaded before the root file system can be mounted; those that are built in are left out.
_MODULES = ("virtio_pci", "virtio_blk", "ext4", "crc32c_generic")
# At the reboot systemd waits as long for what ignores SIGTERM (a first process without a handler does) before it kills it.
_PATIENCE = "[Manager]\nDefaultTimeoutStopSec=10s\n"
# Large, and nothing that the guest runs needs them.
_NOT_COPIED = ("pip*", "setuptools*", "mypy*", "*mypyc*", "ruff*", "boto*", "grpc_tools*", "grpcio_tools*", "__pycache__")
_INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /dev /root
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
for module in {modules}; do /bin/busybox insmod /modules/$module || echo "no $module"; done
tries=0
while [ ! -b /dev/vda ] && [ $tries -lt 50 ]; do /bin/busybox sleep 0.1; tries=$((tries+1)); done
/bin/busybox mount -t ext4 /dev/vda /root || exec /bin/busybox sh
/bin/busybox umount /proc
exec /bin/busybox switch_root /root /sbin/init
"""
_ENGINE_UNIT = """[Unit]
Description=Skerry
[Service]
Environment=PYTHONPATH=/opt/skerry/services:/opt/skerry/packages
EnvironmentFile=-/etc/skerry.env
ExecStart=/usr/bin/python3 -m skerry.cli up
KillMode=process
Delegate=yes
TimeoutStartSec=300
[Install]
WantedBy=multi-user.target
"""
_TEST_UNIT = """[Unit]
Description=What the guest is for
After=multi-user.target dbus.service
[Service]
Environment=PYTHONPATH=/opt/skerry/services:/opt/skerry/packages:/opt/skerry/tests
Environment=PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
ExecStart=/usr/bin/python3 -m guest.inside
StandardOutput=null
StandardError=append:/dev/console
TimeoutStartSec=infinity
[Install]
WantedBy=multi-user.target
"""


def initramfs(tree: Path, target: Path) -> None:
    """Writes the archive that the kernel starts from; tree is the guest's root, with the kernel's modules."""
    (modules,) = (tree / "usr/lib/modules").iterdir()
    wanted = _in_order(modules, _MODULES)
    archive = _Newc()
    archive.directory("bin")
    archive.directory("modules")
    archive.file("bin/busybox", (tree / "bin/busybox").read_bytes(), 0o755)
    for path in wanted:
        archive.file(f"modules/{path.name}", path.read_bytes(), 0o644)
    archive.file("init", _INIT.format(modules=" ".join(path.name for path in wanted)).encode(), 0o755)
    target.write_bytes(gzip.compress(archive.end(), 1))


def _in_order(modules: Path, names: tuple[str, ...]) -> list[Path]:
    """Returns the files of modules, each after those that it needs."""
    needs: dict[str, list[str]] = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        file, _, rest = line.partition(":")
        needs[file] = rest.split()
    found: list[str] = []
    for name in names:
        file = next((one for one in needs if Path(one).stem.replace("-", "_") == name), None)
        if file is not None:
            found += [one for one in (*reversed(needs[file]), file) if one not in found]
    return [modules / one for one in found]


class _Newc:
    """A cpio archive in the form that the kernel reads."""

    def __init__(self) -> None:
        self._out = io.BytesIO()
        self._inode = 1

    def directory(self, name: str) -> None:
        self._entry(name, b"", 0o040755)

    def file(self, name: str, content: bytes, mode: int) -> None:
        self._entry(name, content, 0o100000 | mode)

    def end(self) -> bytes:
        self._entry("TRAILER!!!", b"", 0)
        return self._out.getvalue()

    def _entry(self, name: str, content: bytes, mode: int) -> None:
        self._inode += 1
        raw = name.encode() + b"\0"
        fields = (self._inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(raw), 0)
        self._out.write(b"070701" + b"".join(b"%08X" % field for field in fields) + raw)
        self._pad()
        self._out.write(content)
        self._pad()

    def _pad(self) -> None:
        self._out.write(b"\0" * (-self._out.tell() % 4))


def tree(root_tar: Path, kernel: Path, work: Path) -> Path:
    """Makes the guest's root: Debian, the kernel's modules, this checkout, the Python packages it runs with, the docker command."""
    tree = work / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    run("tar", "-xf", str(root_tar), "-C", str(tree), "--exclude=./dev/*")
    (modules,) = (kernel / "lib/modules").iterdir()
    shutil.copytree(modules, tree / "usr/lib/modules" / modules.name, symlinks=True)
    # The guest's own: this machine need not have it.
    run("chroot", str(tree), "/sbin/depmod", modules.name)
    engine = tree / "opt/skerry"
    for name in ("services", "tests"):
        shutil.copytree(_PROJECT / name, engine / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(_PROJECT / "pyproject.toml", engine)
    shutil.copytree(sysconfig.get_path("purelib"), engine / "packages", symlinks=True, ignore=shutil.ignore_patterns(*_NOT_COPIED))
    # Here, since in the emulated machine it would take minutes.
    run("chroot", str(tree), "/usr/bin/python3", "-m", "compileall", "-q", "/opt/skerry/services", "/opt/skerry/packages")
    docker = shutil.which("docker")
    if docker is None:
        raise SystemExit("the docker command is missing: make install")
    shutil.copy(os.path.realpath(docker), tree / "usr/local/bin/docker")
    units = tree / "etc/systemd/system"
    (units / "skerry.service").write_text(_ENGINE_UNIT)
    (units / "skerry-guest.service").write_text(_TEST_UNIT)
    wants = units / "multi-user.target.wants"
    wants.mkdir(parents=True, exist_ok=True)
    (wants / "skerry-guest.service").symlink_to("/etc/systemd/system/skerry-guest.service")
    (tree / "etc/systemd/system.conf.d").mkdir(parents=True)
    (tree / "etc/systemd/system.conf.d/patience.conf").write_text(_PATIENCE)
    (tree / "etc/hostname").write_text("guest\n")
    (tree / "etc/fstab").write_text("")
    return tree


def disk(tree: Path, target: Path) -> None:
    """Writes the disk."""
    target.unlink(missing_ok=True)
    run("mke2fs", "-q", "-t", "ext4", "-d", str(tree), str(target), _DISK)
