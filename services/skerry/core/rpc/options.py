"""Channel and server options that all parts share."""

_LIMIT = 16 << 20

COMMON: list[tuple[str, int]] = [
    ("grpc.max_send_message_length", _LIMIT),
    ("grpc.max_receive_message_length", _LIMIT),
    # A peer that vanished (power, network) is noticed; on unix sockets this costs nothing.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
]
SERVER_OPTIONS = [
    *COMMON,
    ("grpc.so_reuseport", 0),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
]
CHANNEL_OPTIONS = [
    *COMMON,
    # A service that was restarted is found again at once, not after gRPC's usual 20 s.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
    # Each channel its own connection: a stuck stream of one user must not hold another's.
    ("grpc.use_local_subchannel_pool", 1),
]
