"""The one map between SkerryError classes and gRPC statuses, both ways."""

from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode
from grpc.aio import AioRpcError

from skerry.core import errors

CODES: dict[type[errors.SkerryError], StatusCode] = {
    errors.InvalidArgument: StatusCode.INVALID_ARGUMENT,
    errors.NotFound: StatusCode.NOT_FOUND,
    errors.Conflict: StatusCode.FAILED_PRECONDITION,
    errors.NotModified: StatusCode.FAILED_PRECONDITION,
    errors.Unauthorized: StatusCode.UNAUTHENTICATED,
    errors.Forbidden: StatusCode.PERMISSION_DENIED,
    errors.NotSupported: StatusCode.UNIMPLEMENTED,
    errors.Unavailable: StatusCode.UNAVAILABLE,
    errors.Failed: StatusCode.INTERNAL,
}
_BY_NAME = {cls.__name__: cls for cls in CODES}
_KEY = "grpc-status-details-bin"
_DOMAIN = "skerry"


def kind_of(error: errors.SkerryError) -> type[errors.SkerryError]:
    """Returns the class that an error is on the wire: its own, or the one that a service's subclass refines."""
    return next(cls for cls in type(error).__mro__ if cls in CODES)


def to_trailers(error: errors.SkerryError) -> tuple[tuple[str, bytes], ...]:
    """Packs the class's name: gRPC's codes merge what Docker answers with 409 and 304."""
    detail = AnyMessage()
    kind = kind_of(error)
    detail.Pack(ErrorInfo(reason=kind.__name__, domain=_DOMAIN))
    status = Status(code=CODES[kind].value[0], message=str(error), details=[detail])
    return ((_KEY, status.SerializeToString()),)


def from_rpc(error: AioRpcError) -> errors.SkerryError | None:
    """Returns the SkerryError that the other side raised.

    Unavailable also when the transport failed or the deadline passed. None: a bug over there (or a cancelled call); the caller lets
    the original rise.
    """
    info = ErrorInfo()
    raw = dict(error.trailing_metadata() or ()).get(_KEY)
    if isinstance(raw, bytes):
        for detail in Status.FromString(raw).details:
            if detail.Is(ErrorInfo.DESCRIPTOR):
                detail.Unpack(info)
    if info.domain == _DOMAIN and (cls := _BY_NAME.get(info.reason)) is not None:
        return cls(error.details() or info.reason)
    if error.code() in (StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED):
        return errors.Unavailable(error.details() or error.code().name)
    return None
