import grpc
import pytest
from grpc.aio import AioRpcError, Metadata

from skerry.core.errors import Failed, SkerryError, Unavailable
from skerry.core.rpc.errors import CODES, from_rpc, kind_of, to_trailers

CLASSES = sorted(SkerryError.__subclasses__(), key=lambda cls: cls.__name__)


def test_every_error_class_has_a_status() -> None:
    assert set(CLASSES) == CODES.keys()


@pytest.mark.parametrize("cls", CLASSES)
def test_a_class_survives_the_way_through_trailers(cls: type[SkerryError]) -> None:
    error = cls("what happened: ü")
    arrived = from_rpc(AioRpcError(CODES[cls], Metadata(), Metadata(*to_trailers(error)), details=str(error)))
    assert type(arrived) is cls
    assert str(arrived) == "what happened: ü"


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED])
def test_a_lost_peer_is_unavailable(code: grpc.StatusCode) -> None:
    assert type(from_rpc(AioRpcError(code, Metadata(), Metadata(), details="gone"))) is Unavailable


@pytest.mark.parametrize("code", [grpc.StatusCode.UNKNOWN, grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL])
def test_a_bug_over_there_is_not_dressed_up(code: grpc.StatusCode) -> None:
    assert from_rpc(AioRpcError(code, Metadata(), Metadata(), details="boom")) is None


def test_failed_is_not_confused_with_a_crash() -> None:
    error = AioRpcError(CODES[Failed], Metadata(), Metadata(*to_trailers(Failed("no"))), details="no")
    assert type(from_rpc(error)) is Failed


def test_a_services_own_subclass_arrives_as_the_class_it_refines() -> None:
    class Refined(Failed):
        pass

    error = Refined("no")
    assert kind_of(error) is Failed
    assert type(from_rpc(AioRpcError(CODES[kind_of(error)], Metadata(), Metadata(*to_trailers(error)), details="no"))) is Failed
