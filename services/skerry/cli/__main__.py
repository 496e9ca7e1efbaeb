"""The `skerry` command. `serve` and `up` need nothing but core."""

import argparse
import os
import runpy
import sys
from collections.abc import Sequence

from skerry.cli.parts import SERVICES, Places, places
from skerry.core import lifecycle, log


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="skerry", description="A Docker-compatible container engine made of small services.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    up = commands.add_parser("up", help="run all services of this machine; SIGTERM stops them, containers go on")
    serve = commands.add_parser("serve", help="run one service")
    serve.add_argument("service", choices=SERVICES)
    status = commands.add_parser("status", help="show the services, their state and memory")
    status.add_argument("--json", action="store_true", help="print JSON")
    doctor = commands.add_parser("doctor", help="look at what this machine lacks, and how to mend it")
    images = commands.add_parser("images", help="look after the image store").add_subparsers(dest="action", required=True, metavar="ACTION")
    fsck = images.add_parser("fsck", help="check every blob and row of the running image store")
    fsck.add_argument("--repair", action="store_true", help="mend what can be mended without loss, remove what is damaged or unused")
    _user_parser(images.add_parser("user", help="who may use the store as a registry (/v2/)"))
    node = commands.add_parser("node", help="look after the nodes of a shared image store").add_subparsers(
        dest="action", required=True, metavar="ACTION"
    )
    forget = node.add_parser("forget", help="free what a node that will not come back keeps in the image store")
    forget.add_argument("name", metavar="NAME", help="the node's name (SKERRY_CONTAINERS_NODE, else its host name)")
    for one in (up, status, doctor, fsck, forget):
        one.add_argument("--root", help="data directory (SKERRY_ROOT, default /var/lib/skerry)")
        one.add_argument("--run", help="directory of sockets (SKERRY_RUN, default /run/skerry)")
    up.add_argument("--log-level", default=os.environ.get("SKERRY_LOG_LEVEL", "info"), choices=("debug", "info", "warning", "error"))
    return parser


def _user_parser(user: argparse.ArgumentParser) -> None:
    what = user.add_subparsers(dest="user_action", required=True, metavar="ACTION")
    add = what.add_parser("add", help="add a user, or change password and rights of one")
    add.add_argument("name")
    add.add_argument("--rights", default="", help="ACTION=PATTERN ..., ACTION one of pull, push, delete (default: everything)")
    add.add_argument("--password-stdin", action="store_true", help="read the password from stdin")
    remove = what.add_parser("remove", help="remove a user")
    remove.add_argument("name")
    for one in (add, remove, what.add_parser("list", help="print users and rights")):
        one.add_argument("--file", default=os.environ.get("SKERRY_IMAGES_DISTRIBUTION_USERS", ""), help="SKERRY_IMAGES_DISTRIBUTION_USERS")


def _user(options: argparse.Namespace) -> int:
    from skerry.cli import users
    from skerry.core.errors import SkerryError

    if not options.file:
        sys.stderr.write("error: which file? give --file, or set SKERRY_IMAGES_DISTRIBUTION_USERS\n")
        return 2
    try:
        if options.user_action == "add":
            return users.add(options.file, options.name, options.rights, from_stdin=options.password_stdin)
        return users.remove(options.file, options.name) if options.user_action == "remove" else users.show(options.file)
    except (SkerryError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1


def _up(where: Places, level: str) -> int:
    from skerry.cli.supervisor import supervisor

    if os.geteuid() != 0:
        sys.stderr.write("error: skerry up needs root (namespaces, mounts, cgroups); try: sudo skerry up\n")
        return 1
    log.configure("supervisor", level)
    lifecycle.run(supervisor(where))
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    if options.command == "serve":
        # Exactly what `python -m skerry.SERVICE` does.
        sys.argv[:] = [f"skerry-{options.service}"]
        runpy.run_module(f"skerry.{options.service}", run_name="__main__")
        return 0
    if options.command == "images" and options.action == "user":
        return _user(options)
    where = places(options.root, options.run)
    if options.command == "up":
        return _up(where, options.log_level)
    if options.command == "status":
        from skerry.cli import status

        return status.show(where, as_json=options.json)
    if options.command == "images":
        from skerry.cli import images

        return images.fsck(where, repair=options.repair)
    if options.command == "node":
        from skerry.cli import node

        return node.forget(where, options.name)
    from skerry.cli import doctor

    return doctor.show(where)


if __name__ == "__main__":
    sys.exit(main())
