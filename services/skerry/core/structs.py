"""msgspec's Structs, made ready for threads."""

import msgspec


def prepare(base: type[msgspec.Struct] = msgspec.Struct) -> int:
    """Has msgspec learn the fields of every Struct class below base that there is; returns how many it could. Before threads are started.

    It learns them when a class is decoded first, in steps that let other threads run, and one that decodes the same class meanwhile reads
    what is half made: the process ends with a segmentation fault (msgspec 0.22, StructInfo_Convert). Classes that cannot be decoded,
    such as those that hold objects of ours, are left out: nobody decodes them.
    """
    known = 0
    waiting = list(base.__subclasses__())
    while waiting:
        kind = waiting.pop()
        waiting.extend(kind.__subclasses__())
        try:
            msgspec.json.Decoder(kind)
        except (TypeError, NameError):
            continue
        known += 1
    return known
