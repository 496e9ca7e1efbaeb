from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Framing(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FRAMING_UNSPECIFIED: _ClassVar[Framing]
    FRAMING_MULTIPLEXED: _ClassVar[Framing]
    FRAMING_RAW: _ClassVar[Framing]
FRAMING_UNSPECIFIED: Framing
FRAMING_MULTIPLEXED: Framing
FRAMING_RAW: Framing

class ValidateRequest(_message.Message):
    __slots__ = ("container_id", "driver", "options")
    class OptionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    DRIVER_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    driver: str
    options: _containers.ScalarMap[str, str]
    def __init__(self, container_id: _Optional[str] = ..., driver: _Optional[str] = ..., options: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ValidateResponse(_message.Message):
    __slots__ = ("driver", "options", "path")
    class OptionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    DRIVER_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    driver: str
    options: _containers.ScalarMap[str, str]
    path: str
    def __init__(self, driver: _Optional[str] = ..., options: _Optional[_Mapping[str, str]] = ..., path: _Optional[str] = ...) -> None: ...

class ShipRequest(_message.Message):
    __slots__ = ("open", "batch")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    open: Open
    batch: Batch
    def __init__(self, open: _Optional[_Union[Open, _Mapping]] = ..., batch: _Optional[_Union[Batch, _Mapping]] = ...) -> None: ...

class Open(_message.Message):
    __slots__ = ("container_id", "container_name", "driver", "options", "image_id", "image_name", "command", "labels", "env", "created_ns")
    class OptionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_NAME_FIELD_NUMBER: _ClassVar[int]
    DRIVER_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    IMAGE_ID_FIELD_NUMBER: _ClassVar[int]
    IMAGE_NAME_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    ENV_FIELD_NUMBER: _ClassVar[int]
    CREATED_NS_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    container_name: str
    driver: str
    options: _containers.ScalarMap[str, str]
    image_id: str
    image_name: str
    command: str
    labels: _containers.ScalarMap[str, str]
    env: _containers.RepeatedScalarFieldContainer[str]
    created_ns: int
    def __init__(self, container_id: _Optional[str] = ..., container_name: _Optional[str] = ..., driver: _Optional[str] = ..., options: _Optional[_Mapping[str, str]] = ..., image_id: _Optional[str] = ..., image_name: _Optional[str] = ..., command: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., env: _Optional[_Iterable[str]] = ..., created_ns: _Optional[int] = ...) -> None: ...

class Batch(_message.Message):
    __slots__ = ("container_id", "offset", "frames")
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    offset: int
    frames: bytes
    def __init__(self, container_id: _Optional[str] = ..., offset: _Optional[int] = ..., frames: _Optional[bytes] = ...) -> None: ...

class ShipResponse(_message.Message):
    __slots__ = ("opened", "ack", "refused")
    OPENED_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    opened: Opened
    ack: Ack
    refused: Refused
    def __init__(self, opened: _Optional[_Union[Opened, _Mapping]] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ..., refused: _Optional[_Union[Refused, _Mapping]] = ...) -> None: ...

class Opened(_message.Message):
    __slots__ = ("container_id", "offset")
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    offset: int
    def __init__(self, container_id: _Optional[str] = ..., offset: _Optional[int] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("container_id", "offset")
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    offset: int
    def __init__(self, container_id: _Optional[str] = ..., offset: _Optional[int] = ...) -> None: ...

class Refused(_message.Message):
    __slots__ = ("container_id", "reason")
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    reason: str
    def __init__(self, container_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class ReadRequest(_message.Message):
    __slots__ = ("container_id", "stdout", "stderr", "since_ns", "until_ns", "tail", "timestamps", "follow", "min_offset", "wait_ms", "framing", "details")
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    STDOUT_FIELD_NUMBER: _ClassVar[int]
    STDERR_FIELD_NUMBER: _ClassVar[int]
    SINCE_NS_FIELD_NUMBER: _ClassVar[int]
    UNTIL_NS_FIELD_NUMBER: _ClassVar[int]
    TAIL_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMPS_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    MIN_OFFSET_FIELD_NUMBER: _ClassVar[int]
    WAIT_MS_FIELD_NUMBER: _ClassVar[int]
    FRAMING_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    stdout: bool
    stderr: bool
    since_ns: int
    until_ns: int
    tail: int
    timestamps: bool
    follow: bool
    min_offset: int
    wait_ms: int
    framing: Framing
    details: bool
    def __init__(self, container_id: _Optional[str] = ..., stdout: _Optional[bool] = ..., stderr: _Optional[bool] = ..., since_ns: _Optional[int] = ..., until_ns: _Optional[int] = ..., tail: _Optional[int] = ..., timestamps: _Optional[bool] = ..., follow: _Optional[bool] = ..., min_offset: _Optional[int] = ..., wait_ms: _Optional[int] = ..., framing: _Optional[_Union[Framing, str]] = ..., details: _Optional[bool] = ...) -> None: ...

class ReadResponse(_message.Message):
    __slots__ = ("data", "warning")
    DATA_FIELD_NUMBER: _ClassVar[int]
    WARNING_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    warning: str
    def __init__(self, data: _Optional[bytes] = ..., warning: _Optional[str] = ...) -> None: ...

class RemoveRequest(_message.Message):
    __slots__ = ("container_id",)
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    def __init__(self, container_id: _Optional[str] = ...) -> None: ...

class RemoveResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
