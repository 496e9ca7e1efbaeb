"""What can go wrong that is not a bug, by what the caller can do about it. Imports nothing of ours.

Handlers raise these with Docker's own words; `core.rpc.errors` maps them to gRPC statuses and the gateway to HTTP ones.
"""

import errno

# What a host without room answers to whatever asks for some: no bug of ours.
_EXHAUSTED = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class SkerryError(Exception):
    """Base of every expected failure. Anything else is a bug."""


class InvalidArgument(SkerryError):
    """The request can never succeed as written."""


class NotFound(SkerryError):
    """No such object."""


class Conflict(SkerryError):
    """The object's state, or another object, forbids this now."""


class NotModified(SkerryError):
    """The object is already in the wanted state."""


class Unauthorized(SkerryError):
    """Somebody, a registry for one, wants other credentials."""


class Forbidden(SkerryError):
    """Not allowed, whatever the credentials."""


class NotSupported(SkerryError):
    """This engine does not do that."""


class Unavailable(SkerryError):
    """A dependency is away; the same call may succeed later."""


class Failed(SkerryError):
    """The host, the kernel or a program refused; the text says why. Docker answers these with status 500."""


def exhausted(error: OSError) -> Failed | None:
    """Returns what callers are told when the host ran out of disk, memory or descriptors; None for any other error."""
    if error.errno not in _EXHAUSTED:
        return None
    text = (error.strerror or str(error)).lower()
    return Failed(f"{error.filename}: {text}" if error.filename else text)
