"""Docker's notations: ports, times, names, JSON as Go reads it, mounts."""

import time

import pytest

from skerry.api.networks.v1 import networks_pb2
from skerry.core.errors import InvalidArgument
from skerry.gateway.docker.golang import parse
from skerry.gateway.docker.images import join_reference
from skerry.gateway.docker.mounts import mounts
from skerry.gateway.docker.names import familiar
from skerry.gateway.docker.ports import bindings, expand, parse_port, port_list, port_map
from skerry.gateway.docker.shapes import CREATE
from skerry.gateway.docker.times import ZERO, duration, human_duration, rfc3339, timestamp
from skerry.gateway.errors import BadInput


@pytest.mark.parametrize(
    ("text", "port"),
    [("80", (80, 80, "tcp")), ("80/udp", (80, 80, "udp")), ("80-82/SCTP", (80, 82, "sctp")), ("65535/tcp", (65535, 65535, "tcp"))],
)
def test_ports(text: str, port: tuple[int, int, str]) -> None:
    assert parse_port(text) == port


@pytest.mark.parametrize("text", ["a", "65536", "", "0", "-1", "90-80", "80/foo", "٣"])
def test_wrong_ports_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_port(text)


def test_bindings_of_ranges_go_side_by_side_or_pick_from_the_range() -> None:
    side = bindings({"80-81/tcp": [{"HostPort": "8080-8081"}]})
    assert [(b.container_port, b.host_port, b.host_port_end) for b in side] == [(80, 8080, 0), (81, 8081, 0)]
    pick = bindings({"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8000-8010"}]})
    assert [(b.host_ip, b.host_port, b.host_port_end) for b in pick] == [("127.0.0.1", 8000, 8010)]
    assert [b.host_port for b in bindings({"53/udp": [{"HostPort": ""}], "54": None})] == [0, 0]
    with pytest.raises(InvalidArgument, match='invalid port specification: "x"'):
        bindings({"80/tcp": [{"HostPort": "x"}]})


def test_exposed_ports_expand_without_doubles() -> None:
    assert expand(["80-82", "81/tcp", "53/udp"]) == ["80/tcp", "81/tcp", "82/tcp", "53/udp"]


def test_ports_of_inspect_and_ps() -> None:
    published = [
        networks_pb2.PortBinding(protocol="tcp", container_port=80, host_ip="0.0.0.0", host_port=8081),
        networks_pb2.PortBinding(protocol="tcp", container_port=80, host_ip="::", host_port=8081),
    ]
    # As recorded from a 20.10 engine.
    assert port_map(published, ["80/tcp", "99/tcp"]) == {
        "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8081"}, {"HostIp": "::", "HostPort": "8081"}],
        "99/tcp": None,
    }
    assert port_list(published[:1], ["80/tcp", "99/tcp"]) == [
        {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8081, "Type": "tcp"},
        {"PrivatePort": 99, "Type": "tcp"},
    ]


def test_times() -> None:
    assert rfc3339(0) == ZERO
    assert rfc3339(1795519378 * 10**9 + 260538470) == "2026-11-24T11:22:58.26053847Z"
    assert rfc3339(1795519378 * 10**9) == "2026-11-24T11:22:58Z"
    now = 10**18
    assert timestamp("", now) == 0
    assert timestamp("1795519378", now) == 1795519378 * 10**9
    assert timestamp("1.5", now) == 1_500_000_000
    assert timestamp("1795519378.000000001", now) == 1795519378 * 10**9 + 1
    assert timestamp("2026-11-24T11:22:58.26053847Z", now) == 1795519378260538470
    assert timestamp("2026-11-24T12:22:58+01:00", now) == 1795519378 * 10**9
    assert timestamp("1m30s", now) == now - 90 * 10**9
    for shorter in ("2026-11-24Z", "2026-11-24T00Z", "2026-11-24T00:00Z", "2026-11-24T01+01:00"):
        assert timestamp(shorter, now) == 1795478400 * 10**9
    assert timestamp("2026-11-24", now) == int(time.mktime((2026, 11, 24, 0, 0, 0, 0, 0, -1))) * 10**9
    for wrong in ("x", "1x", "1h x", "2026-11", "2026-11-24T"):
        with pytest.raises(InvalidArgument):
            timestamp(wrong, now)
    assert duration("1.5h") == 5400 * 10**9


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.5, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (150, "2 minutes"),
        (3600, "About an hour"),
        (3 * 3600, "3 hours"),
        (72 * 3600, "3 days"),
        (20 * 24 * 3600, "2 weeks"),
        (90 * 24 * 3600, "3 months"),
        (800 * 24 * 3600, "2 years"),
    ],
)
def test_durations_for_people(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("busybox", "busybox:latest"),
        ("docker.io/library/busybox", "busybox:latest"),
        ("docker.io/me/app:1", "me/app:1"),
        ("host:5000/app", "host:5000/app:latest"),
        ("a@sha256:1", "a@sha256:1"),
        ("sha256:" + "a" * 64, "sha256:" + "a" * 64),
        ("a" * 64, "a" * 64),
    ],
)
def test_image_names(name: str, shown: str) -> None:
    assert familiar(name) == shown


@pytest.mark.parametrize(
    ("name", "tag", "reference"),
    [("a", "", "a"), ("a", "1", "a:1"), ("h:5/a", "1", "h:5/a:1"), ("a:2", "1", "a:1"), ("a", "sha256:1", "a@sha256:1")],
)
def test_references_of_name_and_tag(name: str, tag: str, reference: str) -> None:
    assert join_reference(name, tag) == reference


def test_keys_in_any_case_unknown_keys_and_null() -> None:
    document = parse(b'{"image":"b","IMAGE2":1,"hostconfig":{"memory":5,"Dns":null},"Cmd":"x"}', CREATE, "ContainerConfigWrapper")
    assert document == {"Image": "b", "HostConfig": {"Memory": 5}, "Cmd": ["x"]}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"Image":5}', "json: cannot unmarshal number into Go struct field ContainerConfigWrapper.Image of type string"),
        (b'{"Tty":"x"}', "json: cannot unmarshal string into Go struct field ContainerConfigWrapper.Tty of type bool"),
        (
            b'{"HostConfig":{"Memory":1.5}}',
            "json: cannot unmarshal number into Go struct field ContainerConfigWrapper.HostConfig.Memory of type int64",
        ),
        (
            b'{"HostConfig":{"Memory":true}}',
            "json: cannot unmarshal bool into Go struct field ContainerConfigWrapper.HostConfig.Memory of type int64",
        ),
        (b'{"Env":{}}', "json: cannot unmarshal object into Go struct field ContainerConfigWrapper.Env of type []string"),
        (b"[]", "json: cannot unmarshal array into Go value of type ContainerConfigWrapper"),
    ],
)
def test_wrong_types_are_refused_in_gos_words(body: bytes, text: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse(body, CREATE, "ContainerConfigWrapper")
    assert str(caught.value) == text


@pytest.mark.parametrize("body", [b"", b"{", b'{"a":1} x', b"\xff"])
def test_no_json_is_bad_input(body: bytes) -> None:
    with pytest.raises(BadInput):
        parse(body, CREATE, "ContainerConfigWrapper")


def test_mounts_of_all_three_notations() -> None:
    made = mounts(
        {
            "Binds": ["/a:/b:ro,rshared", "vol:/v", "/anonymous"],
            "Mounts": [
                {"Type": "bind", "Source": "/c", "Target": "/d", "ReadOnly": True, "BindOptions": {"NonRecursive": True}},
                {"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 64, "Mode": 0o1777}},
            ],
            "Tmpfs": {"/u": "size=1m"},
        }
    )
    assert [(m.type, m.source, m.target, m.read_only, m.create_source) for m in made] == [
        ("bind", "/a", "/b", True, True),
        ("volume", "vol", "/v", False, False),
        ("volume", "", "/anonymous", False, False),
        ("bind", "/c", "/d", True, False),
        ("tmpfs", "", "/t", False, False),
        ("tmpfs", "", "/u", False, False),
    ]
    assert made[0].propagation == "rshared"
    assert made[3].non_recursive
    assert made[4].tmpfs_options == "size=64,mode=1777"


@pytest.mark.parametrize(
    ("host", "text"),
    [
        ({"Binds": ["a:b:c:d"]}, "invalid volume specification: 'a:b:c:d'"),
        (
            {"Binds": ["/a:b"]},
            "invalid volume specification: '/a:b': invalid mount config for type \"bind\": "
            "invalid mount path: 'b' mount path must be absolute",
        ),
        ({"Binds": ["/a:/b:foo"]}, "invalid mode: foo"),
        ({"Binds": ["/a:/b:ro,rw"]}, "invalid mode: ro,rw"),
        ({"Mounts": [{"Type": "foo", "Target": "/b"}]}, 'invalid mount config for type "foo": mount type unknown'),
        ({"Mounts": [{"Type": "bind", "Target": "/b"}]}, 'invalid mount config for type "bind": field Source must not be empty'),
        ({"Binds": ["/a:/b", "/c:/b/"]}, "Duplicate mount point: /b/"),
    ],
)
def test_wrong_mounts_are_refused_in_dockers_words(host: dict[str, object], text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        mounts(host)
    assert str(caught.value) == text


def test_volume_options_say_how_a_volume_is_made() -> None:
    options = {"Labels": {"a": "b"}, "NoCopy": True, "DriverConfig": {"Name": "local", "Options": {"type": "tmpfs"}}}
    (mount,) = mounts({"Mounts": [{"Type": "volume", "Source": "v", "Target": "/b", "VolumeOptions": options}]})
    assert (mount.volume_driver, dict(mount.volume_options), dict(mount.volume_labels)) == ("local", {"type": "tmpfs"}, {"a": "b"})
    assert mount.no_copy
