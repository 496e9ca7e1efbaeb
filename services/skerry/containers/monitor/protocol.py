"""Messages between a monitor and its clients (docs/spool.md): packets of a SEQPACKET socket.

Client to monitor: a JSON object {"op": ...}, or b"I" and bytes for stdin. Monitor to client: its whole state as a JSON object, when
somebody connects and at each change; or b"T" and the count of stdin bytes taken from this connection.
"""

import json
import struct

SOCKET = "monitor.sock"
# Phases, in order; FAILED ends a refused create.
NEW = "new"
CREATING = "creating"
CREATED = "created"
STARTING = "starting"
STARTED = "started"
EXITED = "exited"
FAILED = "failed"

STDIN = b"I"
TAKEN = b"T"
# A packet of stdin, and what a connection may have sent that the process has not taken.
STDIN_PIECE = 65536
STDIN_WINDOW = 262144
MESSAGE_LIMIT = STDIN_PIECE + 4096
# Seconds that the runtime gets for create, and for start.
RUNTIME_SECONDS = 60.0
# Of the runtime's stderr.
ERROR_LIMIT = 16384


def request(op: str, **arguments: int) -> bytes:
    """Returns a client's packet."""
    return json.dumps({"op": op, **arguments}).encode()


def taken(count: int) -> bytes:
    """Returns the packet that says how many stdin bytes of this connection were taken."""
    return TAKEN + struct.pack("<Q", count)


def taken_bytes(message: bytes) -> int:
    """Reads such a packet."""
    return int(struct.unpack_from("<Q", message, 1)[0])
