"""Reading a client's tar: entry by entry, nothing ever written by its names, every header bounded."""

import tarfile
from collections.abc import Iterator
from typing import IO, Any, BinaryIO

from skerry.core.errors import InvalidArgument
from skerry.images.layers import FORMAT_ERRORS

_MAX_ENTRIES = 100_000
_MAX_HEADER = 1 << 20
_ERRORS: tuple[type[Exception], ...] = (*FORMAT_ERRORS, tarfile.TarError, UnicodeError, ValueError)


class _Bounded(tarfile.TarInfo):
    """Refuses extended headers that would be read into memory whole, however large they say they are."""

    def _proc_pax(self, archive: Any) -> Any:
        self._bound()
        return super()._proc_pax(archive)  # type: ignore[misc]  # not in the stubs

    def _proc_gnulong(self, archive: Any) -> Any:
        self._bound()
        return super()._proc_gnulong(archive)  # type: ignore[misc]

    def _bound(self) -> None:
        if self.size > _MAX_HEADER:
            raise tarfile.ReadError(f"extended header of {self.size} bytes")


def entries(source: BinaryIO) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    """Yields each entry with its content (regular files only), in the archive's order. Raises InvalidArgument for a broken tar."""
    try:
        with tarfile.open(fileobj=source, mode="r|", bufsize=1 << 20, tarinfo=_Bounded) as archive:
            for number, info in enumerate(archive):
                if number >= _MAX_ENTRIES:
                    raise InvalidArgument(f"archive has more than {_MAX_ENTRIES} entries")
                yield info, archive.extractfile(info) if info.isreg() else None
                archive.members = []  # type: ignore[attr-defined]  # not in the stubs; tarfile keeps every header it has seen
    except _ERRORS as error:
        raise InvalidArgument(f"invalid tar archive: {error}") from None
