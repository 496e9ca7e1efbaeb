"""Detach keys: Docker's notation for them, and finding them in a terminal's input."""

from skerry.core.errors import InvalidArgument

DEFAULT = b"\x10\x11"  # ctrl-p, ctrl-q
_CTRL = {**{chr(ord("a") + i): i + 1 for i in range(26)}, "@": 0, "[": 27, "\\": 28, "]": 29, "^": 30, "_": 31}


def parse(text: str) -> bytes:
    """Returns the key sequence that text ("ctrl-p,ctrl-q", "x,y") stands for; empty text: the default.

    Raises InvalidArgument "Invalid detach keys (TEXT) provided", as dockerd does.
    """
    if not text:
        return DEFAULT
    keys = bytearray()
    for part in text.split(","):
        if len(part) == 1 and part.isascii():
            keys.append(ord(part))
        elif part.startswith("ctrl-") and part[5:] in _CTRL:
            keys.append(_CTRL[part[5:]])
        elif part.upper() == "DEL":
            keys.append(127)
        else:
            raise InvalidArgument(f"Invalid detach keys ({text}) provided")
    return bytes(keys)


class Detector:
    """Finds a key sequence in input that comes in pieces.

    Keys that might begin the sequence are held back until the next ones decide.
    """

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._held = 0

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """Returns what is input, and whether the sequence was completed (then the rest of data is dropped)."""
        keys = self._keys
        if not self._held and keys[0] not in data:
            return data, False
        out = bytearray()
        for value in data:
            if value == keys[self._held]:
                self._held += 1
                if self._held == len(keys):
                    return bytes(out), True
                continue
            out += keys[: self._held]
            self._held = 0
            if value == keys[0]:
                self._held = 1
                if len(keys) == 1:
                    return bytes(out), True
            else:
                out.append(value)
        return bytes(out), False
