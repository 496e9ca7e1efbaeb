"""Structs that are prepared can be decoded for the first time by several threads at once."""

import subprocess
import sys

import msgspec

from skerry.core import structs

# Without prepare this ends by SIGSEGV after a few of the rounds.
_RACE = """
import sys, threading, msgspec
from skerry.core import structs
sys.setswitchinterval(1e-6)
for round in range(100):
    inner = [msgspec.defstruct(f"Inner{round}_{k}", [("a", int, 0)], module="__main__") for k in range(5)]
    outer = msgspec.defstruct(f"Outer{round}", [(f"f{k}", one | None, None) for k, one in enumerate(inner)], module="__main__")
    structs.prepare()
    together = threading.Barrier(4)
    def decode():
        together.wait()
        for _ in range(20):
            assert msgspec.json.decode(b'{"f4": {"a": 1}, "f0": {"a": 1}}', type=outer).f4.a == 1
    threads = [threading.Thread(target=decode) for _ in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
print("survived")
"""


class _Base(msgspec.Struct):
    number: int = 0


class _Other(msgspec.Struct):
    number: int = 0


class _Derived(_Base):
    more: "_Base | None" = None


class _Undecodable(_Base):
    either: "_Base | _Other | None" = None


def test_prepared_structs_can_be_decoded_by_threads_at_once() -> None:
    done = subprocess.run([sys.executable, "-c", _RACE], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "survived\n"), done.stderr


def test_a_class_that_cannot_be_decoded_is_left_out() -> None:
    assert structs.prepare(_Base) == len([_Derived])
    assert structs.prepare() > 1
