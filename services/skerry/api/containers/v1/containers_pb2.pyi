from skerry.api.events.v1 import events_pb2 as _events_pb2
from skerry.api.images.v1 import images_pb2 as _images_pb2
from skerry.api.networks.v1 import networks_pb2 as _networks_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STATUS_UNSPECIFIED: _ClassVar[Status]
    STATUS_CREATED: _ClassVar[Status]
    STATUS_RUNNING: _ClassVar[Status]
    STATUS_PAUSED: _ClassVar[Status]
    STATUS_RESTARTING: _ClassVar[Status]
    STATUS_REMOVING: _ClassVar[Status]
    STATUS_EXITED: _ClassVar[Status]
    STATUS_DEAD: _ClassVar[Status]

class WaitCondition(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WAIT_CONDITION_UNSPECIFIED: _ClassVar[WaitCondition]
    WAIT_CONDITION_NOT_RUNNING: _ClassVar[WaitCondition]
    WAIT_CONDITION_NEXT_EXIT: _ClassVar[WaitCondition]
    WAIT_CONDITION_REMOVED: _ClassVar[WaitCondition]
STATUS_UNSPECIFIED: Status
STATUS_CREATED: Status
STATUS_RUNNING: Status
STATUS_PAUSED: Status
STATUS_RESTARTING: Status
STATUS_REMOVING: Status
STATUS_EXITED: Status
STATUS_DEAD: Status
WAIT_CONDITION_UNSPECIFIED: WaitCondition
WAIT_CONDITION_NOT_RUNNING: WaitCondition
WAIT_CONDITION_NEXT_EXIT: WaitCondition
WAIT_CONDITION_REMOVED: WaitCondition

class SubscribeRequest(_message.Message):
    __slots__ = ("subscription",)
    SUBSCRIPTION_FIELD_NUMBER: _ClassVar[int]
    subscription: _events_pb2.SubscribeRequest
    def __init__(self, subscription: _Optional[_Union[_events_pb2.SubscribeRequest, _Mapping]] = ...) -> None: ...

class SubscribeResponse(_message.Message):
    __slots__ = ("item",)
    ITEM_FIELD_NUMBER: _ClassVar[int]
    item: _events_pb2.SubscribeResponse
    def __init__(self, item: _Optional[_Union[_events_pb2.SubscribeResponse, _Mapping]] = ...) -> None: ...

class Mount(_message.Message):
    __slots__ = ("type", "source", "target", "read_only", "propagation", "create_source", "tmpfs_options", "mode", "non_recursive", "no_copy", "volume_driver", "volume_options", "volume_labels", "volume_subpath", "read_only_non_recursive", "read_only_force_recursive")
    class VolumeOptionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class VolumeLabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TYPE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    READ_ONLY_FIELD_NUMBER: _ClassVar[int]
    PROPAGATION_FIELD_NUMBER: _ClassVar[int]
    CREATE_SOURCE_FIELD_NUMBER: _ClassVar[int]
    TMPFS_OPTIONS_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    NON_RECURSIVE_FIELD_NUMBER: _ClassVar[int]
    NO_COPY_FIELD_NUMBER: _ClassVar[int]
    VOLUME_DRIVER_FIELD_NUMBER: _ClassVar[int]
    VOLUME_OPTIONS_FIELD_NUMBER: _ClassVar[int]
    VOLUME_LABELS_FIELD_NUMBER: _ClassVar[int]
    VOLUME_SUBPATH_FIELD_NUMBER: _ClassVar[int]
    READ_ONLY_NON_RECURSIVE_FIELD_NUMBER: _ClassVar[int]
    READ_ONLY_FORCE_RECURSIVE_FIELD_NUMBER: _ClassVar[int]
    type: str
    source: str
    target: str
    read_only: bool
    propagation: str
    create_source: bool
    tmpfs_options: str
    mode: str
    non_recursive: bool
    no_copy: bool
    volume_driver: str
    volume_options: _containers.ScalarMap[str, str]
    volume_labels: _containers.ScalarMap[str, str]
    volume_subpath: str
    read_only_non_recursive: bool
    read_only_force_recursive: bool
    def __init__(self, type: _Optional[str] = ..., source: _Optional[str] = ..., target: _Optional[str] = ..., read_only: _Optional[bool] = ..., propagation: _Optional[str] = ..., create_source: _Optional[bool] = ..., tmpfs_options: _Optional[str] = ..., mode: _Optional[str] = ..., non_recursive: _Optional[bool] = ..., no_copy: _Optional[bool] = ..., volume_driver: _Optional[str] = ..., volume_options: _Optional[_Mapping[str, str]] = ..., volume_labels: _Optional[_Mapping[str, str]] = ..., volume_subpath: _Optional[str] = ..., read_only_non_recursive: _Optional[bool] = ..., read_only_force_recursive: _Optional[bool] = ...) -> None: ...

class RestartPolicy(_message.Message):
    __slots__ = ("name", "maximum_retry_count")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MAXIMUM_RETRY_COUNT_FIELD_NUMBER: _ClassVar[int]
    name: str
    maximum_retry_count: int
    def __init__(self, name: _Optional[str] = ..., maximum_retry_count: _Optional[int] = ...) -> None: ...

class Resources(_message.Message):
    __slots__ = ("memory", "memory_swap", "memory_reservation", "cpu_shares", "cpu_period", "cpu_quota", "nano_cpus", "cpuset_cpus", "cpuset_mems", "pids_limit", "oom_kill_disable", "memory_swappiness", "blkio_weight", "blkio_weight_device", "blkio_device_read_bps", "blkio_device_write_bps", "blkio_device_read_iops", "blkio_device_write_iops", "cpu_realtime_period", "cpu_realtime_runtime", "kernel_memory_tcp")
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    MEMORY_SWAP_FIELD_NUMBER: _ClassVar[int]
    MEMORY_RESERVATION_FIELD_NUMBER: _ClassVar[int]
    CPU_SHARES_FIELD_NUMBER: _ClassVar[int]
    CPU_PERIOD_FIELD_NUMBER: _ClassVar[int]
    CPU_QUOTA_FIELD_NUMBER: _ClassVar[int]
    NANO_CPUS_FIELD_NUMBER: _ClassVar[int]
    CPUSET_CPUS_FIELD_NUMBER: _ClassVar[int]
    CPUSET_MEMS_FIELD_NUMBER: _ClassVar[int]
    PIDS_LIMIT_FIELD_NUMBER: _ClassVar[int]
    OOM_KILL_DISABLE_FIELD_NUMBER: _ClassVar[int]
    MEMORY_SWAPPINESS_FIELD_NUMBER: _ClassVar[int]
    BLKIO_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    BLKIO_WEIGHT_DEVICE_FIELD_NUMBER: _ClassVar[int]
    BLKIO_DEVICE_READ_BPS_FIELD_NUMBER: _ClassVar[int]
    BLKIO_DEVICE_WRITE_BPS_FIELD_NUMBER: _ClassVar[int]
    BLKIO_DEVICE_READ_IOPS_FIELD_NUMBER: _ClassVar[int]
    BLKIO_DEVICE_WRITE_IOPS_FIELD_NUMBER: _ClassVar[int]
    CPU_REALTIME_PERIOD_FIELD_NUMBER: _ClassVar[int]
    CPU_REALTIME_RUNTIME_FIELD_NUMBER: _ClassVar[int]
    KERNEL_MEMORY_TCP_FIELD_NUMBER: _ClassVar[int]
    memory: int
    memory_swap: int
    memory_reservation: int
    cpu_shares: int
    cpu_period: int
    cpu_quota: int
    nano_cpus: int
    cpuset_cpus: str
    cpuset_mems: str
    pids_limit: int
    oom_kill_disable: bool
    memory_swappiness: int
    blkio_weight: int
    blkio_weight_device: _containers.RepeatedCompositeFieldContainer[WeightDevice]
    blkio_device_read_bps: _containers.RepeatedCompositeFieldContainer[ThrottleDevice]
    blkio_device_write_bps: _containers.RepeatedCompositeFieldContainer[ThrottleDevice]
    blkio_device_read_iops: _containers.RepeatedCompositeFieldContainer[ThrottleDevice]
    blkio_device_write_iops: _containers.RepeatedCompositeFieldContainer[ThrottleDevice]
    cpu_realtime_period: int
    cpu_realtime_runtime: int
    kernel_memory_tcp: int
    def __init__(self, memory: _Optional[int] = ..., memory_swap: _Optional[int] = ..., memory_reservation: _Optional[int] = ..., cpu_shares: _Optional[int] = ..., cpu_period: _Optional[int] = ..., cpu_quota: _Optional[int] = ..., nano_cpus: _Optional[int] = ..., cpuset_cpus: _Optional[str] = ..., cpuset_mems: _Optional[str] = ..., pids_limit: _Optional[int] = ..., oom_kill_disable: _Optional[bool] = ..., memory_swappiness: _Optional[int] = ..., blkio_weight: _Optional[int] = ..., blkio_weight_device: _Optional[_Iterable[_Union[WeightDevice, _Mapping]]] = ..., blkio_device_read_bps: _Optional[_Iterable[_Union[ThrottleDevice, _Mapping]]] = ..., blkio_device_write_bps: _Optional[_Iterable[_Union[ThrottleDevice, _Mapping]]] = ..., blkio_device_read_iops: _Optional[_Iterable[_Union[ThrottleDevice, _Mapping]]] = ..., blkio_device_write_iops: _Optional[_Iterable[_Union[ThrottleDevice, _Mapping]]] = ..., cpu_realtime_period: _Optional[int] = ..., cpu_realtime_runtime: _Optional[int] = ..., kernel_memory_tcp: _Optional[int] = ...) -> None: ...

class WeightDevice(_message.Message):
    __slots__ = ("path", "weight")
    PATH_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    path: str
    weight: int
    def __init__(self, path: _Optional[str] = ..., weight: _Optional[int] = ...) -> None: ...

class ThrottleDevice(_message.Message):
    __slots__ = ("path", "rate")
    PATH_FIELD_NUMBER: _ClassVar[int]
    RATE_FIELD_NUMBER: _ClassVar[int]
    path: str
    rate: int
    def __init__(self, path: _Optional[str] = ..., rate: _Optional[int] = ...) -> None: ...

class Ulimit(_message.Message):
    __slots__ = ("name", "soft", "hard")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SOFT_FIELD_NUMBER: _ClassVar[int]
    HARD_FIELD_NUMBER: _ClassVar[int]
    name: str
    soft: int
    hard: int
    def __init__(self, name: _Optional[str] = ..., soft: _Optional[int] = ..., hard: _Optional[int] = ...) -> None: ...

class Device(_message.Message):
    __slots__ = ("path_on_host", "path_in_container", "permissions")
    PATH_ON_HOST_FIELD_NUMBER: _ClassVar[int]
    PATH_IN_CONTAINER_FIELD_NUMBER: _ClassVar[int]
    PERMISSIONS_FIELD_NUMBER: _ClassVar[int]
    path_on_host: str
    path_in_container: str
    permissions: str
    def __init__(self, path_on_host: _Optional[str] = ..., path_in_container: _Optional[str] = ..., permissions: _Optional[str] = ...) -> None: ...

class DeviceRequest(_message.Message):
    __slots__ = ("driver", "count", "device_ids", "capabilities", "options")
    class OptionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    DRIVER_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    DEVICE_IDS_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    driver: str
    count: int
    device_ids: _containers.RepeatedScalarFieldContainer[str]
    capabilities: _containers.RepeatedCompositeFieldContainer[CapabilitySet]
    options: _containers.ScalarMap[str, str]
    def __init__(self, driver: _Optional[str] = ..., count: _Optional[int] = ..., device_ids: _Optional[_Iterable[str]] = ..., capabilities: _Optional[_Iterable[_Union[CapabilitySet, _Mapping]]] = ..., options: _Optional[_Mapping[str, str]] = ...) -> None: ...

class CapabilitySet(_message.Message):
    __slots__ = ("names",)
    NAMES_FIELD_NUMBER: _ClassVar[int]
    names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, names: _Optional[_Iterable[str]] = ...) -> None: ...

class ContainerSpec(_message.Message):
    __slots__ = ("hostname", "domainname", "user", "working_dir", "entrypoint", "cmd", "env", "labels", "tty", "open_stdin", "stdin_once", "attach_stdin", "attach_stdout", "attach_stderr", "stop_signal", "stop_timeout", "exposed_ports", "volumes", "healthcheck_json", "mounts", "readonly_rootfs", "init", "restart_policy", "auto_remove", "network_mode", "network_disabled", "pid_mode", "ipc_mode", "uts_mode", "cgroupns_mode", "userns_mode", "cap_add", "cap_drop", "privileged", "security_opt", "resources", "ulimits", "devices", "device_cgroup_rules", "sysctls", "group_add", "shm_size", "oom_score_adj", "cgroup_parent", "runtime", "masked_paths", "readonly_paths", "console_height", "console_width", "volumes_from", "storage_opt", "annotations", "volume_driver", "ipc_shareable", "shell", "device_requests")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class SysctlsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class StorageOptEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class AnnotationsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    HOSTNAME_FIELD_NUMBER: _ClassVar[int]
    DOMAINNAME_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    WORKING_DIR_FIELD_NUMBER: _ClassVar[int]
    ENTRYPOINT_FIELD_NUMBER: _ClassVar[int]
    CMD_FIELD_NUMBER: _ClassVar[int]
    ENV_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    TTY_FIELD_NUMBER: _ClassVar[int]
    OPEN_STDIN_FIELD_NUMBER: _ClassVar[int]
    STDIN_ONCE_FIELD_NUMBER: _ClassVar[int]
    ATTACH_STDIN_FIELD_NUMBER: _ClassVar[int]
    ATTACH_STDOUT_FIELD_NUMBER: _ClassVar[int]
    ATTACH_STDERR_FIELD_NUMBER: _ClassVar[int]
    STOP_SIGNAL_FIELD_NUMBER: _ClassVar[int]
    STOP_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    EXPOSED_PORTS_FIELD_NUMBER: _ClassVar[int]
    VOLUMES_FIELD_NUMBER: _ClassVar[int]
    HEALTHCHECK_JSON_FIELD_NUMBER: _ClassVar[int]
    MOUNTS_FIELD_NUMBER: _ClassVar[int]
    READONLY_ROOTFS_FIELD_NUMBER: _ClassVar[int]
    INIT_FIELD_NUMBER: _ClassVar[int]
    RESTART_POLICY_FIELD_NUMBER: _ClassVar[int]
    AUTO_REMOVE_FIELD_NUMBER: _ClassVar[int]
    NETWORK_MODE_FIELD_NUMBER: _ClassVar[int]
    NETWORK_DISABLED_FIELD_NUMBER: _ClassVar[int]
    PID_MODE_FIELD_NUMBER: _ClassVar[int]
    IPC_MODE_FIELD_NUMBER: _ClassVar[int]
    UTS_MODE_FIELD_NUMBER: _ClassVar[int]
    CGROUPNS_MODE_FIELD_NUMBER: _ClassVar[int]
    USERNS_MODE_FIELD_NUMBER: _ClassVar[int]
    CAP_ADD_FIELD_NUMBER: _ClassVar[int]
    CAP_DROP_FIELD_NUMBER: _ClassVar[int]
    PRIVILEGED_FIELD_NUMBER: _ClassVar[int]
    SECURITY_OPT_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    ULIMITS_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    DEVICE_CGROUP_RULES_FIELD_NUMBER: _ClassVar[int]
    SYSCTLS_FIELD_NUMBER: _ClassVar[int]
    GROUP_ADD_FIELD_NUMBER: _ClassVar[int]
    SHM_SIZE_FIELD_NUMBER: _ClassVar[int]
    OOM_SCORE_ADJ_FIELD_NUMBER: _ClassVar[int]
    CGROUP_PARENT_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    MASKED_PATHS_FIELD_NUMBER: _ClassVar[int]
    READONLY_PATHS_FIELD_NUMBER: _ClassVar[int]
    CONSOLE_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    CONSOLE_WIDTH_FIELD_NUMBER: _ClassVar[int]
    VOLUMES_FROM_FIELD_NUMBER: _ClassVar[int]
    STORAGE_OPT_FIELD_NUMBER: _ClassVar[int]
    ANNOTATIONS_FIELD_NUMBER: _ClassVar[int]
    VOLUME_DRIVER_FIELD_NUMBER: _ClassVar[int]
    IPC_SHAREABLE_FIELD_NUMBER: _ClassVar[int]
    SHELL_FIELD_NUMBER: _ClassVar[int]
    DEVICE_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    hostname: str
    domainname: str
    user: str
    working_dir: str
    entrypoint: _images_pb2.StringList
    cmd: _images_pb2.StringList
    env: _containers.RepeatedScalarFieldContainer[str]
    labels: _containers.ScalarMap[str, str]
    tty: bool
    open_stdin: bool
    stdin_once: bool
    attach_stdin: bool
    attach_stdout: bool
    attach_stderr: bool
    stop_signal: str
    stop_timeout: int
    exposed_ports: _containers.RepeatedScalarFieldContainer[str]
    volumes: _containers.RepeatedScalarFieldContainer[str]
    healthcheck_json: str
    mounts: _containers.RepeatedCompositeFieldContainer[Mount]
    readonly_rootfs: bool
    init: bool
    restart_policy: RestartPolicy
    auto_remove: bool
    network_mode: str
    network_disabled: bool
    pid_mode: str
    ipc_mode: str
    uts_mode: str
    cgroupns_mode: str
    userns_mode: str
    cap_add: _containers.RepeatedScalarFieldContainer[str]
    cap_drop: _containers.RepeatedScalarFieldContainer[str]
    privileged: bool
    security_opt: _containers.RepeatedScalarFieldContainer[str]
    resources: Resources
    ulimits: _containers.RepeatedCompositeFieldContainer[Ulimit]
    devices: _containers.RepeatedCompositeFieldContainer[Device]
    device_cgroup_rules: _containers.RepeatedScalarFieldContainer[str]
    sysctls: _containers.ScalarMap[str, str]
    group_add: _containers.RepeatedScalarFieldContainer[str]
    shm_size: int
    oom_score_adj: int
    cgroup_parent: str
    runtime: str
    masked_paths: _images_pb2.StringList
    readonly_paths: _images_pb2.StringList
    console_height: int
    console_width: int
    volumes_from: _containers.RepeatedScalarFieldContainer[str]
    storage_opt: _containers.ScalarMap[str, str]
    annotations: _containers.ScalarMap[str, str]
    volume_driver: str
    ipc_shareable: bool
    shell: _containers.RepeatedScalarFieldContainer[str]
    device_requests: _containers.RepeatedCompositeFieldContainer[DeviceRequest]
    def __init__(self, hostname: _Optional[str] = ..., domainname: _Optional[str] = ..., user: _Optional[str] = ..., working_dir: _Optional[str] = ..., entrypoint: _Optional[_Union[_images_pb2.StringList, _Mapping]] = ..., cmd: _Optional[_Union[_images_pb2.StringList, _Mapping]] = ..., env: _Optional[_Iterable[str]] = ..., labels: _Optional[_Mapping[str, str]] = ..., tty: _Optional[bool] = ..., open_stdin: _Optional[bool] = ..., stdin_once: _Optional[bool] = ..., attach_stdin: _Optional[bool] = ..., attach_stdout: _Optional[bool] = ..., attach_stderr: _Optional[bool] = ..., stop_signal: _Optional[str] = ..., stop_timeout: _Optional[int] = ..., exposed_ports: _Optional[_Iterable[str]] = ..., volumes: _Optional[_Iterable[str]] = ..., healthcheck_json: _Optional[str] = ..., mounts: _Optional[_Iterable[_Union[Mount, _Mapping]]] = ..., readonly_rootfs: _Optional[bool] = ..., init: _Optional[bool] = ..., restart_policy: _Optional[_Union[RestartPolicy, _Mapping]] = ..., auto_remove: _Optional[bool] = ..., network_mode: _Optional[str] = ..., network_disabled: _Optional[bool] = ..., pid_mode: _Optional[str] = ..., ipc_mode: _Optional[str] = ..., uts_mode: _Optional[str] = ..., cgroupns_mode: _Optional[str] = ..., userns_mode: _Optional[str] = ..., cap_add: _Optional[_Iterable[str]] = ..., cap_drop: _Optional[_Iterable[str]] = ..., privileged: _Optional[bool] = ..., security_opt: _Optional[_Iterable[str]] = ..., resources: _Optional[_Union[Resources, _Mapping]] = ..., ulimits: _Optional[_Iterable[_Union[Ulimit, _Mapping]]] = ..., devices: _Optional[_Iterable[_Union[Device, _Mapping]]] = ..., device_cgroup_rules: _Optional[_Iterable[str]] = ..., sysctls: _Optional[_Mapping[str, str]] = ..., group_add: _Optional[_Iterable[str]] = ..., shm_size: _Optional[int] = ..., oom_score_adj: _Optional[int] = ..., cgroup_parent: _Optional[str] = ..., runtime: _Optional[str] = ..., masked_paths: _Optional[_Union[_images_pb2.StringList, _Mapping]] = ..., readonly_paths: _Optional[_Union[_images_pb2.StringList, _Mapping]] = ..., console_height: _Optional[int] = ..., console_width: _Optional[int] = ..., volumes_from: _Optional[_Iterable[str]] = ..., storage_opt: _Optional[_Mapping[str, str]] = ..., annotations: _Optional[_Mapping[str, str]] = ..., volume_driver: _Optional[str] = ..., ipc_shareable: _Optional[bool] = ..., shell: _Optional[_Iterable[str]] = ..., device_requests: _Optional[_Iterable[_Union[DeviceRequest, _Mapping]]] = ...) -> None: ...

class LogTarget(_message.Message):
    __slots__ = ("driver", "options", "router", "path")
    class OptionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    DRIVER_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    ROUTER_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    driver: str
    options: _containers.ScalarMap[str, str]
    router: str
    path: str
    def __init__(self, driver: _Optional[str] = ..., options: _Optional[_Mapping[str, str]] = ..., router: _Optional[str] = ..., path: _Optional[str] = ...) -> None: ...

class CreateRequest(_message.Message):
    __slots__ = ("id", "name", "spec", "image", "image_name", "image_store", "log", "docker_config_json", "docker_host_config_json", "docker_networking_config_json")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    IMAGE_NAME_FIELD_NUMBER: _ClassVar[int]
    IMAGE_STORE_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    DOCKER_CONFIG_JSON_FIELD_NUMBER: _ClassVar[int]
    DOCKER_HOST_CONFIG_JSON_FIELD_NUMBER: _ClassVar[int]
    DOCKER_NETWORKING_CONFIG_JSON_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    spec: ContainerSpec
    image: _images_pb2.Image
    image_name: str
    image_store: str
    log: LogTarget
    docker_config_json: str
    docker_host_config_json: str
    docker_networking_config_json: str
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., spec: _Optional[_Union[ContainerSpec, _Mapping]] = ..., image: _Optional[_Union[_images_pb2.Image, _Mapping]] = ..., image_name: _Optional[str] = ..., image_store: _Optional[str] = ..., log: _Optional[_Union[LogTarget, _Mapping]] = ..., docker_config_json: _Optional[str] = ..., docker_host_config_json: _Optional[str] = ..., docker_networking_config_json: _Optional[str] = ...) -> None: ...

class CreateResponse(_message.Message):
    __slots__ = ("container", "warnings")
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    container: Container
    warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, container: _Optional[_Union[Container, _Mapping]] = ..., warnings: _Optional[_Iterable[str]] = ...) -> None: ...

class State(_message.Message):
    __slots__ = ("status", "pid", "exit_code", "error", "oom_killed", "started_ns", "finished_ns", "run", "settled_run", "restart_count", "needs_sandbox", "health")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    OOM_KILLED_FIELD_NUMBER: _ClassVar[int]
    STARTED_NS_FIELD_NUMBER: _ClassVar[int]
    FINISHED_NS_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    SETTLED_RUN_FIELD_NUMBER: _ClassVar[int]
    RESTART_COUNT_FIELD_NUMBER: _ClassVar[int]
    NEEDS_SANDBOX_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    status: Status
    pid: int
    exit_code: int
    error: str
    oom_killed: bool
    started_ns: int
    finished_ns: int
    run: int
    settled_run: int
    restart_count: int
    needs_sandbox: bool
    health: Health
    def __init__(self, status: _Optional[_Union[Status, str]] = ..., pid: _Optional[int] = ..., exit_code: _Optional[int] = ..., error: _Optional[str] = ..., oom_killed: _Optional[bool] = ..., started_ns: _Optional[int] = ..., finished_ns: _Optional[int] = ..., run: _Optional[int] = ..., settled_run: _Optional[int] = ..., restart_count: _Optional[int] = ..., needs_sandbox: _Optional[bool] = ..., health: _Optional[_Union[Health, _Mapping]] = ...) -> None: ...

class Health(_message.Message):
    __slots__ = ("status", "failing_streak", "log")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    FAILING_STREAK_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    status: str
    failing_streak: int
    log: _containers.RepeatedCompositeFieldContainer[HealthResult]
    def __init__(self, status: _Optional[str] = ..., failing_streak: _Optional[int] = ..., log: _Optional[_Iterable[_Union[HealthResult, _Mapping]]] = ...) -> None: ...

class HealthResult(_message.Message):
    __slots__ = ("start_ns", "end_ns", "exit_code", "output")
    START_NS_FIELD_NUMBER: _ClassVar[int]
    END_NS_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    start_ns: int
    end_ns: int
    exit_code: int
    output: str
    def __init__(self, start_ns: _Optional[int] = ..., end_ns: _Optional[int] = ..., exit_code: _Optional[int] = ..., output: _Optional[str] = ...) -> None: ...

class MountPoint(_message.Message):
    __slots__ = ("type", "name", "source", "destination", "driver", "mode", "read_write", "propagation")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    DRIVER_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    READ_WRITE_FIELD_NUMBER: _ClassVar[int]
    PROPAGATION_FIELD_NUMBER: _ClassVar[int]
    type: str
    name: str
    source: str
    destination: str
    driver: str
    mode: str
    read_write: bool
    propagation: str
    def __init__(self, type: _Optional[str] = ..., name: _Optional[str] = ..., source: _Optional[str] = ..., destination: _Optional[str] = ..., driver: _Optional[str] = ..., mode: _Optional[str] = ..., read_write: _Optional[bool] = ..., propagation: _Optional[str] = ...) -> None: ...

class Container(_message.Message):
    __slots__ = ("id", "name", "created_ns", "image_id", "image_name", "spec", "state", "path", "args", "log", "mount_points", "graph_driver", "graph_driver_name", "docker_config_json", "docker_host_config_json", "docker_networking_config_json", "exec_ids", "size_rw", "size_root_fs", "runtime", "cgroup_path", "manually_stopped", "apparmor_profile")
    class GraphDriverEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    CREATED_NS_FIELD_NUMBER: _ClassVar[int]
    IMAGE_ID_FIELD_NUMBER: _ClassVar[int]
    IMAGE_NAME_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    ARGS_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    MOUNT_POINTS_FIELD_NUMBER: _ClassVar[int]
    GRAPH_DRIVER_FIELD_NUMBER: _ClassVar[int]
    GRAPH_DRIVER_NAME_FIELD_NUMBER: _ClassVar[int]
    DOCKER_CONFIG_JSON_FIELD_NUMBER: _ClassVar[int]
    DOCKER_HOST_CONFIG_JSON_FIELD_NUMBER: _ClassVar[int]
    DOCKER_NETWORKING_CONFIG_JSON_FIELD_NUMBER: _ClassVar[int]
    EXEC_IDS_FIELD_NUMBER: _ClassVar[int]
    SIZE_RW_FIELD_NUMBER: _ClassVar[int]
    SIZE_ROOT_FS_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    CGROUP_PATH_FIELD_NUMBER: _ClassVar[int]
    MANUALLY_STOPPED_FIELD_NUMBER: _ClassVar[int]
    APPARMOR_PROFILE_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    created_ns: int
    image_id: str
    image_name: str
    spec: ContainerSpec
    state: State
    path: str
    args: _containers.RepeatedScalarFieldContainer[str]
    log: LogTarget
    mount_points: _containers.RepeatedCompositeFieldContainer[MountPoint]
    graph_driver: _containers.ScalarMap[str, str]
    graph_driver_name: str
    docker_config_json: str
    docker_host_config_json: str
    docker_networking_config_json: str
    exec_ids: _containers.RepeatedScalarFieldContainer[str]
    size_rw: int
    size_root_fs: int
    runtime: str
    cgroup_path: str
    manually_stopped: bool
    apparmor_profile: str
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., created_ns: _Optional[int] = ..., image_id: _Optional[str] = ..., image_name: _Optional[str] = ..., spec: _Optional[_Union[ContainerSpec, _Mapping]] = ..., state: _Optional[_Union[State, _Mapping]] = ..., path: _Optional[str] = ..., args: _Optional[_Iterable[str]] = ..., log: _Optional[_Union[LogTarget, _Mapping]] = ..., mount_points: _Optional[_Iterable[_Union[MountPoint, _Mapping]]] = ..., graph_driver: _Optional[_Mapping[str, str]] = ..., graph_driver_name: _Optional[str] = ..., docker_config_json: _Optional[str] = ..., docker_host_config_json: _Optional[str] = ..., docker_networking_config_json: _Optional[str] = ..., exec_ids: _Optional[_Iterable[str]] = ..., size_rw: _Optional[int] = ..., size_root_fs: _Optional[int] = ..., runtime: _Optional[str] = ..., cgroup_path: _Optional[str] = ..., manually_stopped: _Optional[bool] = ..., apparmor_profile: _Optional[str] = ...) -> None: ...

class StartRequest(_message.Message):
    __slots__ = ("id", "run", "sandbox", "pid_container_id", "ipc_container_id")
    ID_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    SANDBOX_FIELD_NUMBER: _ClassVar[int]
    PID_CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    IPC_CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    run: int
    sandbox: _networks_pb2.Sandbox
    pid_container_id: str
    ipc_container_id: str
    def __init__(self, id: _Optional[str] = ..., run: _Optional[int] = ..., sandbox: _Optional[_Union[_networks_pb2.Sandbox, _Mapping]] = ..., pid_container_id: _Optional[str] = ..., ipc_container_id: _Optional[str] = ...) -> None: ...

class StartResponse(_message.Message):
    __slots__ = ("container",)
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    container: Container
    def __init__(self, container: _Optional[_Union[Container, _Mapping]] = ...) -> None: ...

class StopRequest(_message.Message):
    __slots__ = ("id", "timeout_seconds", "signal", "restarting")
    ID_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    RESTARTING_FIELD_NUMBER: _ClassVar[int]
    id: str
    timeout_seconds: int
    signal: str
    restarting: bool
    def __init__(self, id: _Optional[str] = ..., timeout_seconds: _Optional[int] = ..., signal: _Optional[str] = ..., restarting: _Optional[bool] = ...) -> None: ...

class StopResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class KillRequest(_message.Message):
    __slots__ = ("id", "signal")
    ID_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    id: str
    signal: str
    def __init__(self, id: _Optional[str] = ..., signal: _Optional[str] = ...) -> None: ...

class KillResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PauseRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class PauseResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class UnpauseRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class UnpauseResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RenameRequest(_message.Message):
    __slots__ = ("id", "name")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class RenameResponse(_message.Message):
    __slots__ = ("id", "old_name", "new_name")
    ID_FIELD_NUMBER: _ClassVar[int]
    OLD_NAME_FIELD_NUMBER: _ClassVar[int]
    NEW_NAME_FIELD_NUMBER: _ClassVar[int]
    id: str
    old_name: str
    new_name: str
    def __init__(self, id: _Optional[str] = ..., old_name: _Optional[str] = ..., new_name: _Optional[str] = ...) -> None: ...

class RemoveRequest(_message.Message):
    __slots__ = ("id", "force", "volumes")
    ID_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    VOLUMES_FIELD_NUMBER: _ClassVar[int]
    id: str
    force: bool
    volumes: bool
    def __init__(self, id: _Optional[str] = ..., force: _Optional[bool] = ..., volumes: _Optional[bool] = ...) -> None: ...

class RemoveResponse(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ("container", "size")
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    container: str
    size: bool
    def __init__(self, container: _Optional[str] = ..., size: _Optional[bool] = ...) -> None: ...

class GetResponse(_message.Message):
    __slots__ = ("container",)
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    container: Container
    def __init__(self, container: _Optional[_Union[Container, _Mapping]] = ...) -> None: ...

class ListRequest(_message.Message):
    __slots__ = ("size", "batched", "known_revision")
    SIZE_FIELD_NUMBER: _ClassVar[int]
    BATCHED_FIELD_NUMBER: _ClassVar[int]
    KNOWN_REVISION_FIELD_NUMBER: _ClassVar[int]
    size: bool
    batched: bool
    known_revision: str
    def __init__(self, size: _Optional[bool] = ..., batched: _Optional[bool] = ..., known_revision: _Optional[str] = ...) -> None: ...

class ListResponse(_message.Message):
    __slots__ = ("container", "containers", "revision", "unchanged")
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    CONTAINERS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    UNCHANGED_FIELD_NUMBER: _ClassVar[int]
    container: Container
    containers: _containers.RepeatedCompositeFieldContainer[Container]
    revision: str
    unchanged: bool
    def __init__(self, container: _Optional[_Union[Container, _Mapping]] = ..., containers: _Optional[_Iterable[_Union[Container, _Mapping]]] = ..., revision: _Optional[str] = ..., unchanged: _Optional[bool] = ...) -> None: ...

class WaitRequest(_message.Message):
    __slots__ = ("id", "condition", "after_run")
    ID_FIELD_NUMBER: _ClassVar[int]
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    AFTER_RUN_FIELD_NUMBER: _ClassVar[int]
    id: str
    condition: WaitCondition
    after_run: int
    def __init__(self, id: _Optional[str] = ..., condition: _Optional[_Union[WaitCondition, str]] = ..., after_run: _Optional[int] = ...) -> None: ...

class WaitResponse(_message.Message):
    __slots__ = ("registered", "exited")
    REGISTERED_FIELD_NUMBER: _ClassVar[int]
    EXITED_FIELD_NUMBER: _ClassVar[int]
    registered: Registered
    exited: Exited
    def __init__(self, registered: _Optional[_Union[Registered, _Mapping]] = ..., exited: _Optional[_Union[Exited, _Mapping]] = ...) -> None: ...

class Registered(_message.Message):
    __slots__ = ("run",)
    RUN_FIELD_NUMBER: _ClassVar[int]
    run: int
    def __init__(self, run: _Optional[int] = ...) -> None: ...

class Exited(_message.Message):
    __slots__ = ("run", "exit_code", "error")
    RUN_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    run: int
    exit_code: int
    error: str
    def __init__(self, run: _Optional[int] = ..., exit_code: _Optional[int] = ..., error: _Optional[str] = ...) -> None: ...

class AttachOpen(_message.Message):
    __slots__ = ("id", "stdin", "stdout", "stderr", "replay", "stream", "offset", "run", "sequence", "hold")
    ID_FIELD_NUMBER: _ClassVar[int]
    STDIN_FIELD_NUMBER: _ClassVar[int]
    STDOUT_FIELD_NUMBER: _ClassVar[int]
    STDERR_FIELD_NUMBER: _ClassVar[int]
    REPLAY_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    HOLD_FIELD_NUMBER: _ClassVar[int]
    id: str
    stdin: bool
    stdout: bool
    stderr: bool
    replay: bool
    stream: bool
    offset: int
    run: int
    sequence: int
    hold: str
    def __init__(self, id: _Optional[str] = ..., stdin: _Optional[bool] = ..., stdout: _Optional[bool] = ..., stderr: _Optional[bool] = ..., replay: _Optional[bool] = ..., stream: _Optional[bool] = ..., offset: _Optional[int] = ..., run: _Optional[int] = ..., sequence: _Optional[int] = ..., hold: _Optional[str] = ...) -> None: ...

class AttachRequest(_message.Message):
    __slots__ = ("open", "stdin", "stdin_end")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    STDIN_FIELD_NUMBER: _ClassVar[int]
    STDIN_END_FIELD_NUMBER: _ClassVar[int]
    open: AttachOpen
    stdin: bytes
    stdin_end: StdinEnd
    def __init__(self, open: _Optional[_Union[AttachOpen, _Mapping]] = ..., stdin: _Optional[bytes] = ..., stdin_end: _Optional[_Union[StdinEnd, _Mapping]] = ...) -> None: ...

class StdinEnd(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AttachResponse(_message.Message):
    __slots__ = ("opened", "output")
    OPENED_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    opened: AttachOpened
    output: Output
    def __init__(self, opened: _Optional[_Union[AttachOpened, _Mapping]] = ..., output: _Optional[_Union[Output, _Mapping]] = ...) -> None: ...

class AttachOpened(_message.Message):
    __slots__ = ("tty", "offset", "before_ns")
    TTY_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    BEFORE_NS_FIELD_NUMBER: _ClassVar[int]
    tty: bool
    offset: int
    before_ns: int
    def __init__(self, tty: _Optional[bool] = ..., offset: _Optional[int] = ..., before_ns: _Optional[int] = ...) -> None: ...

class Output(_message.Message):
    __slots__ = ("data", "next_offset", "gap", "next_sequence", "ended")
    DATA_FIELD_NUMBER: _ClassVar[int]
    NEXT_OFFSET_FIELD_NUMBER: _ClassVar[int]
    GAP_FIELD_NUMBER: _ClassVar[int]
    NEXT_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    next_offset: int
    gap: int
    next_sequence: int
    ended: bool
    def __init__(self, data: _Optional[bytes] = ..., next_offset: _Optional[int] = ..., gap: _Optional[int] = ..., next_sequence: _Optional[int] = ..., ended: _Optional[bool] = ...) -> None: ...

class ResizeRequest(_message.Message):
    __slots__ = ("id", "height", "width")
    ID_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    id: str
    height: int
    width: int
    def __init__(self, id: _Optional[str] = ..., height: _Optional[int] = ..., width: _Optional[int] = ...) -> None: ...

class ResizeResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class UpdateRequest(_message.Message):
    __slots__ = ("container", "resources", "restart_policy", "set_pids_limit", "docker_host_config_json")
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    RESTART_POLICY_FIELD_NUMBER: _ClassVar[int]
    SET_PIDS_LIMIT_FIELD_NUMBER: _ClassVar[int]
    DOCKER_HOST_CONFIG_JSON_FIELD_NUMBER: _ClassVar[int]
    container: str
    resources: Resources
    restart_policy: RestartPolicy
    set_pids_limit: bool
    docker_host_config_json: str
    def __init__(self, container: _Optional[str] = ..., resources: _Optional[_Union[Resources, _Mapping]] = ..., restart_policy: _Optional[_Union[RestartPolicy, _Mapping]] = ..., set_pids_limit: _Optional[bool] = ..., docker_host_config_json: _Optional[str] = ...) -> None: ...

class UpdateResponse(_message.Message):
    __slots__ = ("warnings",)
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, warnings: _Optional[_Iterable[str]] = ...) -> None: ...

class StatsRequest(_message.Message):
    __slots__ = ("container", "stream", "one_shot")
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    ONE_SHOT_FIELD_NUMBER: _ClassVar[int]
    container: str
    stream: bool
    one_shot: bool
    def __init__(self, container: _Optional[str] = ..., stream: _Optional[bool] = ..., one_shot: _Optional[bool] = ...) -> None: ...

class CpuStats(_message.Message):
    __slots__ = ("total_usage", "usage_in_kernelmode", "usage_in_usermode", "percpu_usage", "system_cpu_usage", "online_cpus", "throttling_periods", "throttled_periods", "throttled_time")
    TOTAL_USAGE_FIELD_NUMBER: _ClassVar[int]
    USAGE_IN_KERNELMODE_FIELD_NUMBER: _ClassVar[int]
    USAGE_IN_USERMODE_FIELD_NUMBER: _ClassVar[int]
    PERCPU_USAGE_FIELD_NUMBER: _ClassVar[int]
    SYSTEM_CPU_USAGE_FIELD_NUMBER: _ClassVar[int]
    ONLINE_CPUS_FIELD_NUMBER: _ClassVar[int]
    THROTTLING_PERIODS_FIELD_NUMBER: _ClassVar[int]
    THROTTLED_PERIODS_FIELD_NUMBER: _ClassVar[int]
    THROTTLED_TIME_FIELD_NUMBER: _ClassVar[int]
    total_usage: int
    usage_in_kernelmode: int
    usage_in_usermode: int
    percpu_usage: _containers.RepeatedScalarFieldContainer[int]
    system_cpu_usage: int
    online_cpus: int
    throttling_periods: int
    throttled_periods: int
    throttled_time: int
    def __init__(self, total_usage: _Optional[int] = ..., usage_in_kernelmode: _Optional[int] = ..., usage_in_usermode: _Optional[int] = ..., percpu_usage: _Optional[_Iterable[int]] = ..., system_cpu_usage: _Optional[int] = ..., online_cpus: _Optional[int] = ..., throttling_periods: _Optional[int] = ..., throttled_periods: _Optional[int] = ..., throttled_time: _Optional[int] = ...) -> None: ...

class MemoryStats(_message.Message):
    __slots__ = ("usage", "max_usage", "failcnt", "limit", "stat")
    class StatEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    USAGE_FIELD_NUMBER: _ClassVar[int]
    MAX_USAGE_FIELD_NUMBER: _ClassVar[int]
    FAILCNT_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    STAT_FIELD_NUMBER: _ClassVar[int]
    usage: int
    max_usage: int
    failcnt: int
    limit: int
    stat: _containers.ScalarMap[str, int]
    def __init__(self, usage: _Optional[int] = ..., max_usage: _Optional[int] = ..., failcnt: _Optional[int] = ..., limit: _Optional[int] = ..., stat: _Optional[_Mapping[str, int]] = ...) -> None: ...

class BlkioEntry(_message.Message):
    __slots__ = ("list", "major", "minor", "op", "value")
    LIST_FIELD_NUMBER: _ClassVar[int]
    MAJOR_FIELD_NUMBER: _ClassVar[int]
    MINOR_FIELD_NUMBER: _ClassVar[int]
    OP_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    list: str
    major: int
    minor: int
    op: str
    value: int
    def __init__(self, list: _Optional[str] = ..., major: _Optional[int] = ..., minor: _Optional[int] = ..., op: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...

class NetworkStats(_message.Message):
    __slots__ = ("rx_bytes", "rx_packets", "rx_errors", "rx_dropped", "tx_bytes", "tx_packets", "tx_errors", "tx_dropped")
    RX_BYTES_FIELD_NUMBER: _ClassVar[int]
    RX_PACKETS_FIELD_NUMBER: _ClassVar[int]
    RX_ERRORS_FIELD_NUMBER: _ClassVar[int]
    RX_DROPPED_FIELD_NUMBER: _ClassVar[int]
    TX_BYTES_FIELD_NUMBER: _ClassVar[int]
    TX_PACKETS_FIELD_NUMBER: _ClassVar[int]
    TX_ERRORS_FIELD_NUMBER: _ClassVar[int]
    TX_DROPPED_FIELD_NUMBER: _ClassVar[int]
    rx_bytes: int
    rx_packets: int
    rx_errors: int
    rx_dropped: int
    tx_bytes: int
    tx_packets: int
    tx_errors: int
    tx_dropped: int
    def __init__(self, rx_bytes: _Optional[int] = ..., rx_packets: _Optional[int] = ..., rx_errors: _Optional[int] = ..., rx_dropped: _Optional[int] = ..., tx_bytes: _Optional[int] = ..., tx_packets: _Optional[int] = ..., tx_errors: _Optional[int] = ..., tx_dropped: _Optional[int] = ...) -> None: ...

class StatsResponse(_message.Message):
    __slots__ = ("id", "name", "read_ns", "cpu", "memory", "blkio", "pids_current", "pids_limit", "networks", "preread_ns", "precpu", "cgroup_v1")
    class NetworksEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: NetworkStats
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[NetworkStats, _Mapping]] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    READ_NS_FIELD_NUMBER: _ClassVar[int]
    CPU_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    BLKIO_FIELD_NUMBER: _ClassVar[int]
    PIDS_CURRENT_FIELD_NUMBER: _ClassVar[int]
    PIDS_LIMIT_FIELD_NUMBER: _ClassVar[int]
    NETWORKS_FIELD_NUMBER: _ClassVar[int]
    PREREAD_NS_FIELD_NUMBER: _ClassVar[int]
    PRECPU_FIELD_NUMBER: _ClassVar[int]
    CGROUP_V1_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    read_ns: int
    cpu: CpuStats
    memory: MemoryStats
    blkio: _containers.RepeatedCompositeFieldContainer[BlkioEntry]
    pids_current: int
    pids_limit: int
    networks: _containers.MessageMap[str, NetworkStats]
    preread_ns: int
    precpu: CpuStats
    cgroup_v1: bool
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., read_ns: _Optional[int] = ..., cpu: _Optional[_Union[CpuStats, _Mapping]] = ..., memory: _Optional[_Union[MemoryStats, _Mapping]] = ..., blkio: _Optional[_Iterable[_Union[BlkioEntry, _Mapping]]] = ..., pids_current: _Optional[int] = ..., pids_limit: _Optional[int] = ..., networks: _Optional[_Mapping[str, NetworkStats]] = ..., preread_ns: _Optional[int] = ..., precpu: _Optional[_Union[CpuStats, _Mapping]] = ..., cgroup_v1: _Optional[bool] = ...) -> None: ...

class TopRequest(_message.Message):
    __slots__ = ("id", "ps_args")
    ID_FIELD_NUMBER: _ClassVar[int]
    PS_ARGS_FIELD_NUMBER: _ClassVar[int]
    id: str
    ps_args: str
    def __init__(self, id: _Optional[str] = ..., ps_args: _Optional[str] = ...) -> None: ...

class TopProcess(_message.Message):
    __slots__ = ("columns",)
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    columns: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, columns: _Optional[_Iterable[str]] = ...) -> None: ...

class TopResponse(_message.Message):
    __slots__ = ("titles", "processes")
    TITLES_FIELD_NUMBER: _ClassVar[int]
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    titles: _containers.RepeatedScalarFieldContainer[str]
    processes: _containers.RepeatedCompositeFieldContainer[TopProcess]
    def __init__(self, titles: _Optional[_Iterable[str]] = ..., processes: _Optional[_Iterable[_Union[TopProcess, _Mapping]]] = ...) -> None: ...

class PrepareLayersRequest(_message.Message):
    __slots__ = ("layers", "image_store")
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    IMAGE_STORE_FIELD_NUMBER: _ClassVar[int]
    layers: _containers.RepeatedCompositeFieldContainer[_images_pb2.Layer]
    image_store: str
    def __init__(self, layers: _Optional[_Iterable[_Union[_images_pb2.Layer, _Mapping]]] = ..., image_store: _Optional[str] = ...) -> None: ...

class PrepareLayersResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WatchResponse(_message.Message):
    __slots__ = ("ended", "live", "needs_sandbox")
    ENDED_FIELD_NUMBER: _ClassVar[int]
    LIVE_FIELD_NUMBER: _ClassVar[int]
    NEEDS_SANDBOX_FIELD_NUMBER: _ClassVar[int]
    ended: Ended
    live: WatchLive
    needs_sandbox: NeedsSandbox
    def __init__(self, ended: _Optional[_Union[Ended, _Mapping]] = ..., live: _Optional[_Union[WatchLive, _Mapping]] = ..., needs_sandbox: _Optional[_Union[NeedsSandbox, _Mapping]] = ...) -> None: ...

class WatchLive(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Ended(_message.Message):
    __slots__ = ("id", "run", "exit_code", "auto_remove")
    ID_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    AUTO_REMOVE_FIELD_NUMBER: _ClassVar[int]
    id: str
    run: int
    exit_code: int
    auto_remove: bool
    def __init__(self, id: _Optional[str] = ..., run: _Optional[int] = ..., exit_code: _Optional[int] = ..., auto_remove: _Optional[bool] = ...) -> None: ...

class NeedsSandbox(_message.Message):
    __slots__ = ("id", "run")
    ID_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    id: str
    run: int
    def __init__(self, id: _Optional[str] = ..., run: _Optional[int] = ...) -> None: ...

class SettleRequest(_message.Message):
    __slots__ = ("id", "run")
    ID_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    id: str
    run: int
    def __init__(self, id: _Optional[str] = ..., run: _Optional[int] = ...) -> None: ...

class SettleResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetSpoolRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class GetSpoolResponse(_message.Message):
    __slots__ = ("end_offset", "first_offset")
    END_OFFSET_FIELD_NUMBER: _ClassVar[int]
    FIRST_OFFSET_FIELD_NUMBER: _ClassVar[int]
    end_offset: int
    first_offset: int
    def __init__(self, end_offset: _Optional[int] = ..., first_offset: _Optional[int] = ...) -> None: ...

class ReadSpoolRequest(_message.Message):
    __slots__ = ("id", "stdout", "stderr", "since_ns", "until_ns", "tail", "timestamps", "follow", "multiplexed")
    ID_FIELD_NUMBER: _ClassVar[int]
    STDOUT_FIELD_NUMBER: _ClassVar[int]
    STDERR_FIELD_NUMBER: _ClassVar[int]
    SINCE_NS_FIELD_NUMBER: _ClassVar[int]
    UNTIL_NS_FIELD_NUMBER: _ClassVar[int]
    TAIL_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMPS_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    MULTIPLEXED_FIELD_NUMBER: _ClassVar[int]
    id: str
    stdout: bool
    stderr: bool
    since_ns: int
    until_ns: int
    tail: int
    timestamps: bool
    follow: bool
    multiplexed: bool
    def __init__(self, id: _Optional[str] = ..., stdout: _Optional[bool] = ..., stderr: _Optional[bool] = ..., since_ns: _Optional[int] = ..., until_ns: _Optional[int] = ..., tail: _Optional[int] = ..., timestamps: _Optional[bool] = ..., follow: _Optional[bool] = ..., multiplexed: _Optional[bool] = ...) -> None: ...

class ReadSpoolResponse(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...

class InfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class InfoResponse(_message.Message):
    __slots__ = ("node", "containers", "running", "paused", "stopped", "kernel_version", "operating_system", "os_version", "architecture", "cpus", "memory", "cgroup_version", "cgroup_driver", "default_runtime", "runtimes", "runtime_commit", "storage_driver", "storage_status", "security_options", "warnings", "root_dir", "init_binary", "memory_limit", "swap_limit", "cpu_cfs", "cpu_shares", "cpuset", "pids_limit", "oom_kill_disable", "volume_drivers")
    class RuntimesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class StorageStatusEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NODE_FIELD_NUMBER: _ClassVar[int]
    CONTAINERS_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    STOPPED_FIELD_NUMBER: _ClassVar[int]
    KERNEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    OPERATING_SYSTEM_FIELD_NUMBER: _ClassVar[int]
    OS_VERSION_FIELD_NUMBER: _ClassVar[int]
    ARCHITECTURE_FIELD_NUMBER: _ClassVar[int]
    CPUS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    CGROUP_VERSION_FIELD_NUMBER: _ClassVar[int]
    CGROUP_DRIVER_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_RUNTIME_FIELD_NUMBER: _ClassVar[int]
    RUNTIMES_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_COMMIT_FIELD_NUMBER: _ClassVar[int]
    STORAGE_DRIVER_FIELD_NUMBER: _ClassVar[int]
    STORAGE_STATUS_FIELD_NUMBER: _ClassVar[int]
    SECURITY_OPTIONS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    ROOT_DIR_FIELD_NUMBER: _ClassVar[int]
    INIT_BINARY_FIELD_NUMBER: _ClassVar[int]
    MEMORY_LIMIT_FIELD_NUMBER: _ClassVar[int]
    SWAP_LIMIT_FIELD_NUMBER: _ClassVar[int]
    CPU_CFS_FIELD_NUMBER: _ClassVar[int]
    CPU_SHARES_FIELD_NUMBER: _ClassVar[int]
    CPUSET_FIELD_NUMBER: _ClassVar[int]
    PIDS_LIMIT_FIELD_NUMBER: _ClassVar[int]
    OOM_KILL_DISABLE_FIELD_NUMBER: _ClassVar[int]
    VOLUME_DRIVERS_FIELD_NUMBER: _ClassVar[int]
    node: str
    containers: int
    running: int
    paused: int
    stopped: int
    kernel_version: str
    operating_system: str
    os_version: str
    architecture: str
    cpus: int
    memory: int
    cgroup_version: str
    cgroup_driver: str
    default_runtime: str
    runtimes: _containers.ScalarMap[str, str]
    runtime_commit: str
    storage_driver: str
    storage_status: _containers.ScalarMap[str, str]
    security_options: _containers.RepeatedScalarFieldContainer[str]
    warnings: _containers.RepeatedScalarFieldContainer[str]
    root_dir: str
    init_binary: str
    memory_limit: bool
    swap_limit: bool
    cpu_cfs: bool
    cpu_shares: bool
    cpuset: bool
    pids_limit: bool
    oom_kill_disable: bool
    volume_drivers: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, node: _Optional[str] = ..., containers: _Optional[int] = ..., running: _Optional[int] = ..., paused: _Optional[int] = ..., stopped: _Optional[int] = ..., kernel_version: _Optional[str] = ..., operating_system: _Optional[str] = ..., os_version: _Optional[str] = ..., architecture: _Optional[str] = ..., cpus: _Optional[int] = ..., memory: _Optional[int] = ..., cgroup_version: _Optional[str] = ..., cgroup_driver: _Optional[str] = ..., default_runtime: _Optional[str] = ..., runtimes: _Optional[_Mapping[str, str]] = ..., runtime_commit: _Optional[str] = ..., storage_driver: _Optional[str] = ..., storage_status: _Optional[_Mapping[str, str]] = ..., security_options: _Optional[_Iterable[str]] = ..., warnings: _Optional[_Iterable[str]] = ..., root_dir: _Optional[str] = ..., init_binary: _Optional[str] = ..., memory_limit: _Optional[bool] = ..., swap_limit: _Optional[bool] = ..., cpu_cfs: _Optional[bool] = ..., cpu_shares: _Optional[bool] = ..., cpuset: _Optional[bool] = ..., pids_limit: _Optional[bool] = ..., oom_kill_disable: _Optional[bool] = ..., volume_drivers: _Optional[_Iterable[str]] = ...) -> None: ...

class DiffRequest(_message.Message):
    __slots__ = ("container",)
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    container: str
    def __init__(self, container: _Optional[str] = ...) -> None: ...

class Change(_message.Message):
    __slots__ = ("path", "kind")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[Change.Kind]
        KIND_MODIFIED: _ClassVar[Change.Kind]
        KIND_ADDED: _ClassVar[Change.Kind]
        KIND_DELETED: _ClassVar[Change.Kind]
    KIND_UNSPECIFIED: Change.Kind
    KIND_MODIFIED: Change.Kind
    KIND_ADDED: Change.Kind
    KIND_DELETED: Change.Kind
    PATH_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    path: bytes
    kind: Change.Kind
    def __init__(self, path: _Optional[bytes] = ..., kind: _Optional[_Union[Change.Kind, str]] = ...) -> None: ...

class DiffResponse(_message.Message):
    __slots__ = ("changes",)
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    changes: _containers.RepeatedCompositeFieldContainer[Change]
    def __init__(self, changes: _Optional[_Iterable[_Union[Change, _Mapping]]] = ...) -> None: ...

class CommitLayerRequest(_message.Message):
    __slots__ = ("container", "image_store", "pause", "holder")
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    IMAGE_STORE_FIELD_NUMBER: _ClassVar[int]
    PAUSE_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    container: str
    image_store: str
    pause: bool
    holder: str
    def __init__(self, container: _Optional[str] = ..., image_store: _Optional[str] = ..., pause: _Optional[bool] = ..., holder: _Optional[str] = ...) -> None: ...

class CommitLayerResponse(_message.Message):
    __slots__ = ("layer",)
    LAYER_FIELD_NUMBER: _ClassVar[int]
    layer: _images_pb2.Layer
    def __init__(self, layer: _Optional[_Union[_images_pb2.Layer, _Mapping]] = ...) -> None: ...

class RecordCommitRequest(_message.Message):
    __slots__ = ("container", "image_id", "image_name", "comment")
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    IMAGE_ID_FIELD_NUMBER: _ClassVar[int]
    IMAGE_NAME_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    container: str
    image_id: str
    image_name: str
    comment: str
    def __init__(self, container: _Optional[str] = ..., image_id: _Optional[str] = ..., image_name: _Optional[str] = ..., comment: _Optional[str] = ...) -> None: ...

class RecordCommitResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RecordPruneRequest(_message.Message):
    __slots__ = ("reclaimed",)
    RECLAIMED_FIELD_NUMBER: _ClassVar[int]
    reclaimed: int
    def __init__(self, reclaimed: _Optional[int] = ...) -> None: ...

class RecordPruneResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ExportRequest(_message.Message):
    __slots__ = ("container", "boot_id")
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    container: str
    boot_id: str
    def __init__(self, container: _Optional[str] = ..., boot_id: _Optional[str] = ...) -> None: ...

class ExportResponse(_message.Message):
    __slots__ = ("chunk", "path")
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    chunk: bytes
    path: str
    def __init__(self, chunk: _Optional[bytes] = ..., path: _Optional[str] = ...) -> None: ...

class PathStat(_message.Message):
    __slots__ = ("name", "size", "mode", "mtime_ns", "link_target")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    MTIME_NS_FIELD_NUMBER: _ClassVar[int]
    LINK_TARGET_FIELD_NUMBER: _ClassVar[int]
    name: str
    size: int
    mode: int
    mtime_ns: int
    link_target: str
    def __init__(self, name: _Optional[str] = ..., size: _Optional[int] = ..., mode: _Optional[int] = ..., mtime_ns: _Optional[int] = ..., link_target: _Optional[str] = ...) -> None: ...

class StatPathRequest(_message.Message):
    __slots__ = ("container", "path")
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    container: str
    path: str
    def __init__(self, container: _Optional[str] = ..., path: _Optional[str] = ...) -> None: ...

class StatPathResponse(_message.Message):
    __slots__ = ("stat",)
    STAT_FIELD_NUMBER: _ClassVar[int]
    stat: PathStat
    def __init__(self, stat: _Optional[_Union[PathStat, _Mapping]] = ...) -> None: ...

class GetArchiveRequest(_message.Message):
    __slots__ = ("container", "path", "members")
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    container: str
    path: str
    members: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, container: _Optional[str] = ..., path: _Optional[str] = ..., members: _Optional[_Iterable[str]] = ...) -> None: ...

class GetArchiveResponse(_message.Message):
    __slots__ = ("stat", "chunk")
    STAT_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    stat: PathStat
    chunk: bytes
    def __init__(self, stat: _Optional[_Union[PathStat, _Mapping]] = ..., chunk: _Optional[bytes] = ...) -> None: ...

class PutArchiveRequest(_message.Message):
    __slots__ = ("open", "chunk", "written")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    WRITTEN_FIELD_NUMBER: _ClassVar[int]
    open: PutArchiveOpen
    chunk: bytes
    written: int
    def __init__(self, open: _Optional[_Union[PutArchiveOpen, _Mapping]] = ..., chunk: _Optional[bytes] = ..., written: _Optional[int] = ...) -> None: ...

class PutArchiveOpen(_message.Message):
    __slots__ = ("container", "path", "no_overwrite_dir_non_dir", "copy_uid_gid", "create_path", "chown", "chmod", "file_or_directory", "boot_id")
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    NO_OVERWRITE_DIR_NON_DIR_FIELD_NUMBER: _ClassVar[int]
    COPY_UID_GID_FIELD_NUMBER: _ClassVar[int]
    CREATE_PATH_FIELD_NUMBER: _ClassVar[int]
    CHOWN_FIELD_NUMBER: _ClassVar[int]
    CHMOD_FIELD_NUMBER: _ClassVar[int]
    FILE_OR_DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    container: str
    path: str
    no_overwrite_dir_non_dir: bool
    copy_uid_gid: bool
    create_path: bool
    chown: str
    chmod: int
    file_or_directory: bool
    boot_id: str
    def __init__(self, container: _Optional[str] = ..., path: _Optional[str] = ..., no_overwrite_dir_non_dir: _Optional[bool] = ..., copy_uid_gid: _Optional[bool] = ..., create_path: _Optional[bool] = ..., chown: _Optional[str] = ..., chmod: _Optional[int] = ..., file_or_directory: _Optional[bool] = ..., boot_id: _Optional[str] = ...) -> None: ...

class PutArchiveResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
