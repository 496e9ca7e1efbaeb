"""What layer tars are made of: constants of the tar format and of image layers. Imports nothing, as `produce` must start quickly."""

BLOCK = 512
KINDS = REGULAR, HARDLINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
MAX_PATH = 4095
# Names in a path, unless the operator sets another limit.
MAX_DEPTH = 256

WHITEOUT_PREFIX = b".wh."
# Names that aufs used for itself; not whiteouts.
AUFS_PREFIX = b".wh..wh."
OPAQUE_MARK = b".wh..wh..opq"
