from skerry.api.containers.v1 import containers_pb2 as _containers_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ExecSpec(_message.Message):
    __slots__ = ("cmd", "env", "user", "working_dir", "tty", "attach_stdin", "attach_stdout", "attach_stderr", "privileged", "detach_keys", "console_height", "console_width")
    CMD_FIELD_NUMBER: _ClassVar[int]
    ENV_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    WORKING_DIR_FIELD_NUMBER: _ClassVar[int]
    TTY_FIELD_NUMBER: _ClassVar[int]
    ATTACH_STDIN_FIELD_NUMBER: _ClassVar[int]
    ATTACH_STDOUT_FIELD_NUMBER: _ClassVar[int]
    ATTACH_STDERR_FIELD_NUMBER: _ClassVar[int]
    PRIVILEGED_FIELD_NUMBER: _ClassVar[int]
    DETACH_KEYS_FIELD_NUMBER: _ClassVar[int]
    CONSOLE_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    CONSOLE_WIDTH_FIELD_NUMBER: _ClassVar[int]
    cmd: _containers.RepeatedScalarFieldContainer[str]
    env: _containers.RepeatedScalarFieldContainer[str]
    user: str
    working_dir: str
    tty: bool
    attach_stdin: bool
    attach_stdout: bool
    attach_stderr: bool
    privileged: bool
    detach_keys: str
    console_height: int
    console_width: int
    def __init__(self, cmd: _Optional[_Iterable[str]] = ..., env: _Optional[_Iterable[str]] = ..., user: _Optional[str] = ..., working_dir: _Optional[str] = ..., tty: _Optional[bool] = ..., attach_stdin: _Optional[bool] = ..., attach_stdout: _Optional[bool] = ..., attach_stderr: _Optional[bool] = ..., privileged: _Optional[bool] = ..., detach_keys: _Optional[str] = ..., console_height: _Optional[int] = ..., console_width: _Optional[int] = ...) -> None: ...

class Exec(_message.Message):
    __slots__ = ("id", "container_id", "spec", "running", "exit_code", "pid", "started")
    ID_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    id: str
    container_id: str
    spec: ExecSpec
    running: bool
    exit_code: int
    pid: int
    started: bool
    def __init__(self, id: _Optional[str] = ..., container_id: _Optional[str] = ..., spec: _Optional[_Union[ExecSpec, _Mapping]] = ..., running: _Optional[bool] = ..., exit_code: _Optional[int] = ..., pid: _Optional[int] = ..., started: _Optional[bool] = ...) -> None: ...

class CreateExecRequest(_message.Message):
    __slots__ = ("container", "spec")
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    container: str
    spec: ExecSpec
    def __init__(self, container: _Optional[str] = ..., spec: _Optional[_Union[ExecSpec, _Mapping]] = ...) -> None: ...

class CreateExecResponse(_message.Message):
    __slots__ = ("exec",)
    EXEC_FIELD_NUMBER: _ClassVar[int]
    exec: Exec
    def __init__(self, exec: _Optional[_Union[Exec, _Mapping]] = ...) -> None: ...

class ExecOpen(_message.Message):
    __slots__ = ("id", "detach", "tty", "console_height", "console_width", "offset", "sequence", "hold")
    ID_FIELD_NUMBER: _ClassVar[int]
    DETACH_FIELD_NUMBER: _ClassVar[int]
    TTY_FIELD_NUMBER: _ClassVar[int]
    CONSOLE_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    CONSOLE_WIDTH_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    HOLD_FIELD_NUMBER: _ClassVar[int]
    id: str
    detach: bool
    tty: bool
    console_height: int
    console_width: int
    offset: int
    sequence: int
    hold: str
    def __init__(self, id: _Optional[str] = ..., detach: _Optional[bool] = ..., tty: _Optional[bool] = ..., console_height: _Optional[int] = ..., console_width: _Optional[int] = ..., offset: _Optional[int] = ..., sequence: _Optional[int] = ..., hold: _Optional[str] = ...) -> None: ...

class StartExecRequest(_message.Message):
    __slots__ = ("open", "stdin", "stdin_end")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    STDIN_FIELD_NUMBER: _ClassVar[int]
    STDIN_END_FIELD_NUMBER: _ClassVar[int]
    open: ExecOpen
    stdin: bytes
    stdin_end: _containers_pb2.StdinEnd
    def __init__(self, open: _Optional[_Union[ExecOpen, _Mapping]] = ..., stdin: _Optional[bytes] = ..., stdin_end: _Optional[_Union[_containers_pb2.StdinEnd, _Mapping]] = ...) -> None: ...

class StartExecResponse(_message.Message):
    __slots__ = ("opened", "output")
    OPENED_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    opened: _containers_pb2.AttachOpened
    output: _containers_pb2.Output
    def __init__(self, opened: _Optional[_Union[_containers_pb2.AttachOpened, _Mapping]] = ..., output: _Optional[_Union[_containers_pb2.Output, _Mapping]] = ...) -> None: ...

class ResizeExecRequest(_message.Message):
    __slots__ = ("id", "height", "width")
    ID_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    id: str
    height: int
    width: int
    def __init__(self, id: _Optional[str] = ..., height: _Optional[int] = ..., width: _Optional[int] = ...) -> None: ...

class ResizeExecResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetExecRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class GetExecResponse(_message.Message):
    __slots__ = ("exec",)
    EXEC_FIELD_NUMBER: _ClassVar[int]
    exec: Exec
    def __init__(self, exec: _Optional[_Union[Exec, _Mapping]] = ...) -> None: ...
