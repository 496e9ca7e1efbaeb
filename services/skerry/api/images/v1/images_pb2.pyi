from skerry.api.events.v1 import events_pb2 as _events_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

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

class StringList(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, values: _Optional[_Iterable[str]] = ...) -> None: ...

class Layer(_message.Message):
    __slots__ = ("diff_id", "chain_id", "size", "files_size")
    DIFF_ID_FIELD_NUMBER: _ClassVar[int]
    CHAIN_ID_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    FILES_SIZE_FIELD_NUMBER: _ClassVar[int]
    diff_id: str
    chain_id: str
    size: int
    files_size: int
    def __init__(self, diff_id: _Optional[str] = ..., chain_id: _Optional[str] = ..., size: _Optional[int] = ..., files_size: _Optional[int] = ...) -> None: ...

class ImageConfig(_message.Message):
    __slots__ = ("user", "env", "entrypoint", "cmd", "working_dir", "labels", "exposed_ports", "volumes", "stop_signal", "healthcheck_json", "shell")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    USER_FIELD_NUMBER: _ClassVar[int]
    ENV_FIELD_NUMBER: _ClassVar[int]
    ENTRYPOINT_FIELD_NUMBER: _ClassVar[int]
    CMD_FIELD_NUMBER: _ClassVar[int]
    WORKING_DIR_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    EXPOSED_PORTS_FIELD_NUMBER: _ClassVar[int]
    VOLUMES_FIELD_NUMBER: _ClassVar[int]
    STOP_SIGNAL_FIELD_NUMBER: _ClassVar[int]
    HEALTHCHECK_JSON_FIELD_NUMBER: _ClassVar[int]
    SHELL_FIELD_NUMBER: _ClassVar[int]
    user: str
    env: _containers.RepeatedScalarFieldContainer[str]
    entrypoint: StringList
    cmd: StringList
    working_dir: str
    labels: _containers.ScalarMap[str, str]
    exposed_ports: _containers.RepeatedScalarFieldContainer[str]
    volumes: _containers.RepeatedScalarFieldContainer[str]
    stop_signal: str
    healthcheck_json: str
    shell: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, user: _Optional[str] = ..., env: _Optional[_Iterable[str]] = ..., entrypoint: _Optional[_Union[StringList, _Mapping]] = ..., cmd: _Optional[_Union[StringList, _Mapping]] = ..., working_dir: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., exposed_ports: _Optional[_Iterable[str]] = ..., volumes: _Optional[_Iterable[str]] = ..., stop_signal: _Optional[str] = ..., healthcheck_json: _Optional[str] = ..., shell: _Optional[_Iterable[str]] = ...) -> None: ...

class Image(_message.Message):
    __slots__ = ("id", "repo_tags", "repo_digests", "parent", "created_ns", "architecture", "variant", "os", "size", "layers", "config", "config_json", "last_tagged_ns", "leases", "descriptor", "manifests")
    ID_FIELD_NUMBER: _ClassVar[int]
    REPO_TAGS_FIELD_NUMBER: _ClassVar[int]
    REPO_DIGESTS_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    CREATED_NS_FIELD_NUMBER: _ClassVar[int]
    ARCHITECTURE_FIELD_NUMBER: _ClassVar[int]
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    OS_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    CONFIG_JSON_FIELD_NUMBER: _ClassVar[int]
    LAST_TAGGED_NS_FIELD_NUMBER: _ClassVar[int]
    LEASES_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTOR_FIELD_NUMBER: _ClassVar[int]
    MANIFESTS_FIELD_NUMBER: _ClassVar[int]
    id: str
    repo_tags: _containers.RepeatedScalarFieldContainer[str]
    repo_digests: _containers.RepeatedScalarFieldContainer[str]
    parent: str
    created_ns: int
    architecture: str
    variant: str
    os: str
    size: int
    layers: _containers.RepeatedCompositeFieldContainer[Layer]
    config: ImageConfig
    config_json: str
    last_tagged_ns: int
    leases: int
    descriptor: Descriptor
    manifests: _containers.RepeatedCompositeFieldContainer[ManifestSummary]
    def __init__(self, id: _Optional[str] = ..., repo_tags: _Optional[_Iterable[str]] = ..., repo_digests: _Optional[_Iterable[str]] = ..., parent: _Optional[str] = ..., created_ns: _Optional[int] = ..., architecture: _Optional[str] = ..., variant: _Optional[str] = ..., os: _Optional[str] = ..., size: _Optional[int] = ..., layers: _Optional[_Iterable[_Union[Layer, _Mapping]]] = ..., config: _Optional[_Union[ImageConfig, _Mapping]] = ..., config_json: _Optional[str] = ..., last_tagged_ns: _Optional[int] = ..., leases: _Optional[int] = ..., descriptor: _Optional[_Union[Descriptor, _Mapping]] = ..., manifests: _Optional[_Iterable[_Union[ManifestSummary, _Mapping]]] = ...) -> None: ...

class Descriptor(_message.Message):
    __slots__ = ("media_type", "digest", "size", "platform", "annotations", "urls")
    class AnnotationsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    MEDIA_TYPE_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    ANNOTATIONS_FIELD_NUMBER: _ClassVar[int]
    URLS_FIELD_NUMBER: _ClassVar[int]
    media_type: str
    digest: str
    size: int
    platform: str
    annotations: _containers.ScalarMap[str, str]
    urls: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, media_type: _Optional[str] = ..., digest: _Optional[str] = ..., size: _Optional[int] = ..., platform: _Optional[str] = ..., annotations: _Optional[_Mapping[str, str]] = ..., urls: _Optional[_Iterable[str]] = ...) -> None: ...

class ManifestSummary(_message.Message):
    __slots__ = ("descriptor", "available", "content_size", "unpacked_size", "platform", "attests", "image_id")
    DESCRIPTOR_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_SIZE_FIELD_NUMBER: _ClassVar[int]
    UNPACKED_SIZE_FIELD_NUMBER: _ClassVar[int]
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    ATTESTS_FIELD_NUMBER: _ClassVar[int]
    IMAGE_ID_FIELD_NUMBER: _ClassVar[int]
    descriptor: Descriptor
    available: bool
    content_size: int
    unpacked_size: int
    platform: str
    attests: str
    image_id: str
    def __init__(self, descriptor: _Optional[_Union[Descriptor, _Mapping]] = ..., available: _Optional[bool] = ..., content_size: _Optional[int] = ..., unpacked_size: _Optional[int] = ..., platform: _Optional[str] = ..., attests: _Optional[str] = ..., image_id: _Optional[str] = ...) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ("image", "origin")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    image: str
    origin: bool
    def __init__(self, image: _Optional[str] = ..., origin: _Optional[bool] = ...) -> None: ...

class GetResponse(_message.Message):
    __slots__ = ("image",)
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    image: Image
    def __init__(self, image: _Optional[_Union[Image, _Mapping]] = ...) -> None: ...

class ListRequest(_message.Message):
    __slots__ = ("references", "dangling", "labels", "before", "since", "until_ns", "hide_intermediate", "brief", "origin", "known_revision")
    REFERENCES_FIELD_NUMBER: _ClassVar[int]
    DANGLING_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    UNTIL_NS_FIELD_NUMBER: _ClassVar[int]
    HIDE_INTERMEDIATE_FIELD_NUMBER: _ClassVar[int]
    BRIEF_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    KNOWN_REVISION_FIELD_NUMBER: _ClassVar[int]
    references: _containers.RepeatedScalarFieldContainer[str]
    dangling: bool
    labels: _containers.RepeatedScalarFieldContainer[str]
    before: str
    since: str
    until_ns: int
    hide_intermediate: bool
    brief: bool
    origin: bool
    known_revision: str
    def __init__(self, references: _Optional[_Iterable[str]] = ..., dangling: _Optional[bool] = ..., labels: _Optional[_Iterable[str]] = ..., before: _Optional[str] = ..., since: _Optional[str] = ..., until_ns: _Optional[int] = ..., hide_intermediate: _Optional[bool] = ..., brief: _Optional[bool] = ..., origin: _Optional[bool] = ..., known_revision: _Optional[str] = ...) -> None: ...

class ListResponse(_message.Message):
    __slots__ = ("image", "images", "revision", "unchanged")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    UNCHANGED_FIELD_NUMBER: _ClassVar[int]
    image: Image
    images: _containers.RepeatedCompositeFieldContainer[Image]
    revision: str
    unchanged: bool
    def __init__(self, image: _Optional[_Union[Image, _Mapping]] = ..., images: _Optional[_Iterable[_Union[Image, _Mapping]]] = ..., revision: _Optional[str] = ..., unchanged: _Optional[bool] = ...) -> None: ...

class TagRequest(_message.Message):
    __slots__ = ("image", "target")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    image: str
    target: str
    def __init__(self, image: _Optional[str] = ..., target: _Optional[str] = ...) -> None: ...

class TagResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RemoveRequest(_message.Message):
    __slots__ = ("image", "force", "no_prune", "running_holders")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    NO_PRUNE_FIELD_NUMBER: _ClassVar[int]
    RUNNING_HOLDERS_FIELD_NUMBER: _ClassVar[int]
    image: str
    force: bool
    no_prune: bool
    running_holders: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, image: _Optional[str] = ..., force: _Optional[bool] = ..., no_prune: _Optional[bool] = ..., running_holders: _Optional[_Iterable[str]] = ...) -> None: ...

class Removal(_message.Message):
    __slots__ = ("untagged", "deleted")
    UNTAGGED_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    untagged: str
    deleted: str
    def __init__(self, untagged: _Optional[str] = ..., deleted: _Optional[str] = ...) -> None: ...

class RemoveResponse(_message.Message):
    __slots__ = ("removals",)
    REMOVALS_FIELD_NUMBER: _ClassVar[int]
    removals: _containers.RepeatedCompositeFieldContainer[Removal]
    def __init__(self, removals: _Optional[_Iterable[_Union[Removal, _Mapping]]] = ...) -> None: ...

class PruneRequest(_message.Message):
    __slots__ = ("dangling", "until_ns", "labels", "not_labels")
    DANGLING_FIELD_NUMBER: _ClassVar[int]
    UNTIL_NS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    NOT_LABELS_FIELD_NUMBER: _ClassVar[int]
    dangling: bool
    until_ns: int
    labels: _containers.RepeatedScalarFieldContainer[str]
    not_labels: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, dangling: _Optional[bool] = ..., until_ns: _Optional[int] = ..., labels: _Optional[_Iterable[str]] = ..., not_labels: _Optional[_Iterable[str]] = ...) -> None: ...

class PruneResponse(_message.Message):
    __slots__ = ("removals", "space_reclaimed")
    REMOVALS_FIELD_NUMBER: _ClassVar[int]
    SPACE_RECLAIMED_FIELD_NUMBER: _ClassVar[int]
    removals: _containers.RepeatedCompositeFieldContainer[Removal]
    space_reclaimed: int
    def __init__(self, removals: _Optional[_Iterable[_Union[Removal, _Mapping]]] = ..., space_reclaimed: _Optional[int] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("id", "status", "current", "total")
    ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    CURRENT_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    id: str
    status: str
    current: int
    total: int
    def __init__(self, id: _Optional[str] = ..., status: _Optional[str] = ..., current: _Optional[int] = ..., total: _Optional[int] = ...) -> None: ...

class RegistryAuth(_message.Message):
    __slots__ = ("username", "password", "server_address", "identity_token", "registry_token")
    USERNAME_FIELD_NUMBER: _ClassVar[int]
    PASSWORD_FIELD_NUMBER: _ClassVar[int]
    SERVER_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REGISTRY_TOKEN_FIELD_NUMBER: _ClassVar[int]
    username: str
    password: str
    server_address: str
    identity_token: str
    registry_token: str
    def __init__(self, username: _Optional[str] = ..., password: _Optional[str] = ..., server_address: _Optional[str] = ..., identity_token: _Optional[str] = ..., registry_token: _Optional[str] = ...) -> None: ...

class PullRequest(_message.Message):
    __slots__ = ("reference", "platform", "auth", "all_tags")
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    AUTH_FIELD_NUMBER: _ClassVar[int]
    ALL_TAGS_FIELD_NUMBER: _ClassVar[int]
    reference: str
    platform: str
    auth: RegistryAuth
    all_tags: bool
    def __init__(self, reference: _Optional[str] = ..., platform: _Optional[str] = ..., auth: _Optional[_Union[RegistryAuth, _Mapping]] = ..., all_tags: _Optional[bool] = ...) -> None: ...

class PullResponse(_message.Message):
    __slots__ = ("progress", "image", "layer")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    progress: Progress
    image: Image
    layer: Layer
    def __init__(self, progress: _Optional[_Union[Progress, _Mapping]] = ..., image: _Optional[_Union[Image, _Mapping]] = ..., layer: _Optional[_Union[Layer, _Mapping]] = ...) -> None: ...

class LoadRequest(_message.Message):
    __slots__ = ("chunk", "open", "done")
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    chunk: bytes
    open: OpenUpload
    done: UploadDone
    def __init__(self, chunk: _Optional[bytes] = ..., open: _Optional[_Union[OpenUpload, _Mapping]] = ..., done: _Optional[_Union[UploadDone, _Mapping]] = ...) -> None: ...

class OpenUpload(_message.Message):
    __slots__ = ("boot_id", "platform")
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    boot_id: str
    platform: str
    def __init__(self, boot_id: _Optional[str] = ..., platform: _Optional[str] = ...) -> None: ...

class UploadOpened(_message.Message):
    __slots__ = ("path",)
    PATH_FIELD_NUMBER: _ClassVar[int]
    path: str
    def __init__(self, path: _Optional[str] = ...) -> None: ...

class UploadDone(_message.Message):
    __slots__ = ("size",)
    SIZE_FIELD_NUMBER: _ClassVar[int]
    size: int
    def __init__(self, size: _Optional[int] = ...) -> None: ...

class LoadResponse(_message.Message):
    __slots__ = ("progress", "loaded", "opened", "said")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    LOADED_FIELD_NUMBER: _ClassVar[int]
    OPENED_FIELD_NUMBER: _ClassVar[int]
    SAID_FIELD_NUMBER: _ClassVar[int]
    progress: Progress
    loaded: Loaded
    opened: UploadOpened
    said: str
    def __init__(self, progress: _Optional[_Union[Progress, _Mapping]] = ..., loaded: _Optional[_Union[Loaded, _Mapping]] = ..., opened: _Optional[_Union[UploadOpened, _Mapping]] = ..., said: _Optional[str] = ...) -> None: ...

class Loaded(_message.Message):
    __slots__ = ("image", "names")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    image: Image
    names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, image: _Optional[_Union[Image, _Mapping]] = ..., names: _Optional[_Iterable[str]] = ...) -> None: ...

class ImportRequest(_message.Message):
    __slots__ = ("header", "chunk", "done")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    header: ImportHeader
    chunk: bytes
    done: UploadDone
    def __init__(self, header: _Optional[_Union[ImportHeader, _Mapping]] = ..., chunk: _Optional[bytes] = ..., done: _Optional[_Union[UploadDone, _Mapping]] = ...) -> None: ...

class ImportHeader(_message.Message):
    __slots__ = ("name", "message", "changes", "platform", "boot_id", "source")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    message: str
    changes: _containers.RepeatedScalarFieldContainer[str]
    platform: str
    boot_id: str
    source: str
    def __init__(self, name: _Optional[str] = ..., message: _Optional[str] = ..., changes: _Optional[_Iterable[str]] = ..., platform: _Optional[str] = ..., boot_id: _Optional[str] = ..., source: _Optional[str] = ...) -> None: ...

class ImportResponse(_message.Message):
    __slots__ = ("progress", "image", "opened")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    OPENED_FIELD_NUMBER: _ClassVar[int]
    progress: Progress
    image: Image
    opened: UploadOpened
    def __init__(self, progress: _Optional[_Union[Progress, _Mapping]] = ..., image: _Optional[_Union[Image, _Mapping]] = ..., opened: _Optional[_Union[UploadOpened, _Mapping]] = ...) -> None: ...

class AcquireLeaseRequest(_message.Message):
    __slots__ = ("image", "holder")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    image: str
    holder: str
    def __init__(self, image: _Optional[str] = ..., holder: _Optional[str] = ...) -> None: ...

class AcquireLeaseResponse(_message.Message):
    __slots__ = ("image",)
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    image: Image
    def __init__(self, image: _Optional[_Union[Image, _Mapping]] = ...) -> None: ...

class ReleaseLeaseRequest(_message.Message):
    __slots__ = ("holder",)
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    holder: str
    def __init__(self, holder: _Optional[str] = ...) -> None: ...

class ReleaseLeaseResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListLeasesRequest(_message.Message):
    __slots__ = ("holder_prefix", "image")
    HOLDER_PREFIX_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    holder_prefix: str
    image: str
    def __init__(self, holder_prefix: _Optional[str] = ..., image: _Optional[str] = ...) -> None: ...

class ListLeasesResponse(_message.Message):
    __slots__ = ("image_id", "holder")
    IMAGE_ID_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    image_id: str
    holder: str
    def __init__(self, image_id: _Optional[str] = ..., holder: _Optional[str] = ...) -> None: ...

class FetchLayerRequest(_message.Message):
    __slots__ = ("diff_id", "boot_id", "offset", "accepts")
    DIFF_ID_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    ACCEPTS_FIELD_NUMBER: _ClassVar[int]
    diff_id: str
    boot_id: str
    offset: int
    accepts: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, diff_id: _Optional[str] = ..., boot_id: _Optional[str] = ..., offset: _Optional[int] = ..., accepts: _Optional[_Iterable[str]] = ...) -> None: ...

class FetchLayerResponse(_message.Message):
    __slots__ = ("path", "chunk", "link")
    PATH_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    LINK_FIELD_NUMBER: _ClassVar[int]
    path: str
    chunk: bytes
    link: LayerLink
    def __init__(self, path: _Optional[str] = ..., chunk: _Optional[bytes] = ..., link: _Optional[_Union[LayerLink, _Mapping]] = ...) -> None: ...

class LayerLink(_message.Message):
    __slots__ = ("url", "compression", "size")
    URL_FIELD_NUMBER: _ClassVar[int]
    COMPRESSION_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    url: str
    compression: str
    size: int
    def __init__(self, url: _Optional[str] = ..., compression: _Optional[str] = ..., size: _Optional[int] = ...) -> None: ...

class UsedLayersRequest(_message.Message):
    __slots__ = ("diff_ids",)
    DIFF_IDS_FIELD_NUMBER: _ClassVar[int]
    diff_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, diff_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class UsedLayersResponse(_message.Message):
    __slots__ = ("diff_ids",)
    DIFF_IDS_FIELD_NUMBER: _ClassVar[int]
    diff_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, diff_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class InfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class InfoResponse(_message.Message):
    __slots__ = ("images", "layers_size")
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    LAYERS_SIZE_FIELD_NUMBER: _ClassVar[int]
    images: int
    layers_size: int
    def __init__(self, images: _Optional[int] = ..., layers_size: _Optional[int] = ...) -> None: ...

class StoreLayerRequest(_message.Message):
    __slots__ = ("open", "chunk", "done")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    open: OpenLayer
    chunk: bytes
    done: LayerDone
    def __init__(self, open: _Optional[_Union[OpenLayer, _Mapping]] = ..., chunk: _Optional[bytes] = ..., done: _Optional[_Union[LayerDone, _Mapping]] = ...) -> None: ...

class OpenLayer(_message.Message):
    __slots__ = ("boot_id", "holder")
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    boot_id: str
    holder: str
    def __init__(self, boot_id: _Optional[str] = ..., holder: _Optional[str] = ...) -> None: ...

class LayerDone(_message.Message):
    __slots__ = ("diff_id",)
    DIFF_ID_FIELD_NUMBER: _ClassVar[int]
    diff_id: str
    def __init__(self, diff_id: _Optional[str] = ...) -> None: ...

class StoreLayerResponse(_message.Message):
    __slots__ = ("opened", "layer")
    OPENED_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    opened: LayerOpened
    layer: Layer
    def __init__(self, opened: _Optional[_Union[LayerOpened, _Mapping]] = ..., layer: _Optional[_Union[Layer, _Mapping]] = ...) -> None: ...

class LayerOpened(_message.Message):
    __slots__ = ("path",)
    PATH_FIELD_NUMBER: _ClassVar[int]
    path: str
    def __init__(self, path: _Optional[str] = ...) -> None: ...

class CommitRequest(_message.Message):
    __slots__ = ("parent", "diff_id", "config_json", "changes", "author", "comment", "created_by", "container_id", "container_config_json", "name", "platform", "holder", "docker_version", "fill")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    DIFF_ID_FIELD_NUMBER: _ClassVar[int]
    CONFIG_JSON_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    CREATED_BY_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_CONFIG_JSON_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    DOCKER_VERSION_FIELD_NUMBER: _ClassVar[int]
    FILL_FIELD_NUMBER: _ClassVar[int]
    parent: str
    diff_id: str
    config_json: str
    changes: _containers.RepeatedScalarFieldContainer[str]
    author: str
    comment: str
    created_by: str
    container_id: str
    container_config_json: str
    name: str
    platform: str
    holder: str
    docker_version: str
    fill: bool
    def __init__(self, parent: _Optional[str] = ..., diff_id: _Optional[str] = ..., config_json: _Optional[str] = ..., changes: _Optional[_Iterable[str]] = ..., author: _Optional[str] = ..., comment: _Optional[str] = ..., created_by: _Optional[str] = ..., container_id: _Optional[str] = ..., container_config_json: _Optional[str] = ..., name: _Optional[str] = ..., platform: _Optional[str] = ..., holder: _Optional[str] = ..., docker_version: _Optional[str] = ..., fill: _Optional[bool] = ...) -> None: ...

class CommitResponse(_message.Message):
    __slots__ = ("image",)
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    image: Image
    def __init__(self, image: _Optional[_Union[Image, _Mapping]] = ...) -> None: ...

class FindChildRequest(_message.Message):
    __slots__ = ("parent", "container_config_json", "cache_from", "platform", "holder")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_CONFIG_JSON_FIELD_NUMBER: _ClassVar[int]
    CACHE_FROM_FIELD_NUMBER: _ClassVar[int]
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    parent: str
    container_config_json: str
    cache_from: _containers.RepeatedScalarFieldContainer[str]
    platform: str
    holder: str
    def __init__(self, parent: _Optional[str] = ..., container_config_json: _Optional[str] = ..., cache_from: _Optional[_Iterable[str]] = ..., platform: _Optional[str] = ..., holder: _Optional[str] = ...) -> None: ...

class FindChildResponse(_message.Message):
    __slots__ = ("image",)
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    image: Image
    def __init__(self, image: _Optional[_Union[Image, _Mapping]] = ...) -> None: ...

class GetHistoryRequest(_message.Message):
    __slots__ = ("image",)
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    image: str
    def __init__(self, image: _Optional[str] = ...) -> None: ...

class HistoryItem(_message.Message):
    __slots__ = ("id", "created_ns", "created_by", "tags", "size", "comment")
    ID_FIELD_NUMBER: _ClassVar[int]
    CREATED_NS_FIELD_NUMBER: _ClassVar[int]
    CREATED_BY_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    id: str
    created_ns: int
    created_by: str
    tags: _containers.RepeatedScalarFieldContainer[str]
    size: int
    comment: str
    def __init__(self, id: _Optional[str] = ..., created_ns: _Optional[int] = ..., created_by: _Optional[str] = ..., tags: _Optional[_Iterable[str]] = ..., size: _Optional[int] = ..., comment: _Optional[str] = ...) -> None: ...

class GetHistoryResponse(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[HistoryItem]
    def __init__(self, items: _Optional[_Iterable[_Union[HistoryItem, _Mapping]]] = ...) -> None: ...

class SaveRequest(_message.Message):
    __slots__ = ("images", "boot_id", "platform")
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    images: _containers.RepeatedScalarFieldContainer[str]
    boot_id: str
    platform: str
    def __init__(self, images: _Optional[_Iterable[str]] = ..., boot_id: _Optional[str] = ..., platform: _Optional[str] = ...) -> None: ...

class SaveResponse(_message.Message):
    __slots__ = ("chunk", "file", "begin")
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    BEGIN_FIELD_NUMBER: _ClassVar[int]
    chunk: bytes
    file: FilePiece
    begin: SaveBegin
    def __init__(self, chunk: _Optional[bytes] = ..., file: _Optional[_Union[FilePiece, _Mapping]] = ..., begin: _Optional[_Union[SaveBegin, _Mapping]] = ...) -> None: ...

class SaveBegin(_message.Message):
    __slots__ = ("size",)
    SIZE_FIELD_NUMBER: _ClassVar[int]
    size: int
    def __init__(self, size: _Optional[int] = ...) -> None: ...

class FilePiece(_message.Message):
    __slots__ = ("path", "size")
    PATH_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    path: str
    size: int
    def __init__(self, path: _Optional[str] = ..., size: _Optional[int] = ...) -> None: ...

class PushRequest(_message.Message):
    __slots__ = ("reference", "auth", "all_tags")
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    AUTH_FIELD_NUMBER: _ClassVar[int]
    ALL_TAGS_FIELD_NUMBER: _ClassVar[int]
    reference: str
    auth: RegistryAuth
    all_tags: bool
    def __init__(self, reference: _Optional[str] = ..., auth: _Optional[_Union[RegistryAuth, _Mapping]] = ..., all_tags: _Optional[bool] = ...) -> None: ...

class PushResponse(_message.Message):
    __slots__ = ("progress", "pushed")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    PUSHED_FIELD_NUMBER: _ClassVar[int]
    progress: Progress
    pushed: Pushed
    def __init__(self, progress: _Optional[_Union[Progress, _Mapping]] = ..., pushed: _Optional[_Union[Pushed, _Mapping]] = ...) -> None: ...

class Pushed(_message.Message):
    __slots__ = ("tag", "digest", "size")
    TAG_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    tag: str
    digest: str
    size: int
    def __init__(self, tag: _Optional[str] = ..., digest: _Optional[str] = ..., size: _Optional[int] = ...) -> None: ...

class SearchRequest(_message.Message):
    __slots__ = ("term", "limit", "auth", "is_official", "is_automated", "stars")
    TERM_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    AUTH_FIELD_NUMBER: _ClassVar[int]
    IS_OFFICIAL_FIELD_NUMBER: _ClassVar[int]
    IS_AUTOMATED_FIELD_NUMBER: _ClassVar[int]
    STARS_FIELD_NUMBER: _ClassVar[int]
    term: str
    limit: int
    auth: RegistryAuth
    is_official: bool
    is_automated: bool
    stars: int
    def __init__(self, term: _Optional[str] = ..., limit: _Optional[int] = ..., auth: _Optional[_Union[RegistryAuth, _Mapping]] = ..., is_official: _Optional[bool] = ..., is_automated: _Optional[bool] = ..., stars: _Optional[int] = ...) -> None: ...

class SearchResult(_message.Message):
    __slots__ = ("name", "description", "star_count", "is_official", "is_automated")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    STAR_COUNT_FIELD_NUMBER: _ClassVar[int]
    IS_OFFICIAL_FIELD_NUMBER: _ClassVar[int]
    IS_AUTOMATED_FIELD_NUMBER: _ClassVar[int]
    name: str
    description: str
    star_count: int
    is_official: bool
    is_automated: bool
    def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ..., star_count: _Optional[int] = ..., is_official: _Optional[bool] = ..., is_automated: _Optional[bool] = ...) -> None: ...

class SearchResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[SearchResult]
    def __init__(self, results: _Optional[_Iterable[_Union[SearchResult, _Mapping]]] = ...) -> None: ...

class LoginRequest(_message.Message):
    __slots__ = ("auth",)
    AUTH_FIELD_NUMBER: _ClassVar[int]
    auth: RegistryAuth
    def __init__(self, auth: _Optional[_Union[RegistryAuth, _Mapping]] = ...) -> None: ...

class LoginResponse(_message.Message):
    __slots__ = ("status", "identity_token")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_TOKEN_FIELD_NUMBER: _ClassVar[int]
    status: str
    identity_token: str
    def __init__(self, status: _Optional[str] = ..., identity_token: _Optional[str] = ...) -> None: ...

class DescribeRequest(_message.Message):
    __slots__ = ("reference", "auth")
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    AUTH_FIELD_NUMBER: _ClassVar[int]
    reference: str
    auth: RegistryAuth
    def __init__(self, reference: _Optional[str] = ..., auth: _Optional[_Union[RegistryAuth, _Mapping]] = ...) -> None: ...

class DescribeResponse(_message.Message):
    __slots__ = ("media_type", "digest", "size", "platforms")
    MEDIA_TYPE_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    PLATFORMS_FIELD_NUMBER: _ClassVar[int]
    media_type: str
    digest: str
    size: int
    platforms: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, media_type: _Optional[str] = ..., digest: _Optional[str] = ..., size: _Optional[int] = ..., platforms: _Optional[_Iterable[str]] = ...) -> None: ...

class DiskUsageRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ImageUsage(_message.Message):
    __slots__ = ("image", "shared_size", "unique_size")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    SHARED_SIZE_FIELD_NUMBER: _ClassVar[int]
    UNIQUE_SIZE_FIELD_NUMBER: _ClassVar[int]
    image: Image
    shared_size: int
    unique_size: int
    def __init__(self, image: _Optional[_Union[Image, _Mapping]] = ..., shared_size: _Optional[int] = ..., unique_size: _Optional[int] = ...) -> None: ...

class DiskUsageResponse(_message.Message):
    __slots__ = ("images", "layers_size", "build_cache_size", "build_cache_count")
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    LAYERS_SIZE_FIELD_NUMBER: _ClassVar[int]
    BUILD_CACHE_SIZE_FIELD_NUMBER: _ClassVar[int]
    BUILD_CACHE_COUNT_FIELD_NUMBER: _ClassVar[int]
    images: _containers.RepeatedCompositeFieldContainer[ImageUsage]
    layers_size: int
    build_cache_size: int
    build_cache_count: int
    def __init__(self, images: _Optional[_Iterable[_Union[ImageUsage, _Mapping]]] = ..., layers_size: _Optional[int] = ..., build_cache_size: _Optional[int] = ..., build_cache_count: _Optional[int] = ...) -> None: ...

class CheckRequest(_message.Message):
    __slots__ = ("repair",)
    REPAIR_FIELD_NUMBER: _ClassVar[int]
    repair: bool
    def __init__(self, repair: _Optional[bool] = ...) -> None: ...

class CheckResponse(_message.Message):
    __slots__ = ("finding", "progress", "summary")
    FINDING_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    finding: Finding
    progress: CheckProgress
    summary: CheckSummary
    def __init__(self, finding: _Optional[_Union[Finding, _Mapping]] = ..., progress: _Optional[_Union[CheckProgress, _Mapping]] = ..., summary: _Optional[_Union[CheckSummary, _Mapping]] = ...) -> None: ...

class Finding(_message.Message):
    __slots__ = ("kind", "subject", "text", "images", "repaired")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[Finding.Kind]
        KIND_DAMAGED: _ClassVar[Finding.Kind]
        KIND_MISSING: _ClassVar[Finding.Kind]
        KIND_UNUSED: _ClassVar[Finding.Kind]
        KIND_RECORD: _ClassVar[Finding.Kind]
    KIND_UNSPECIFIED: Finding.Kind
    KIND_DAMAGED: Finding.Kind
    KIND_MISSING: Finding.Kind
    KIND_UNUSED: Finding.Kind
    KIND_RECORD: Finding.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    REPAIRED_FIELD_NUMBER: _ClassVar[int]
    kind: Finding.Kind
    subject: str
    text: str
    images: _containers.RepeatedScalarFieldContainer[str]
    repaired: bool
    def __init__(self, kind: _Optional[_Union[Finding.Kind, str]] = ..., subject: _Optional[str] = ..., text: _Optional[str] = ..., images: _Optional[_Iterable[str]] = ..., repaired: _Optional[bool] = ...) -> None: ...

class CheckProgress(_message.Message):
    __slots__ = ("checked", "total")
    CHECKED_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    checked: int
    total: int
    def __init__(self, checked: _Optional[int] = ..., total: _Optional[int] = ...) -> None: ...

class CheckSummary(_message.Message):
    __slots__ = ("blobs", "bytes", "images", "findings", "repaired")
    BLOBS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    REPAIRED_FIELD_NUMBER: _ClassVar[int]
    blobs: int
    bytes: int
    images: int
    findings: int
    repaired: int
    def __init__(self, blobs: _Optional[int] = ..., bytes: _Optional[int] = ..., images: _Optional[int] = ..., findings: _Optional[int] = ..., repaired: _Optional[int] = ...) -> None: ...
