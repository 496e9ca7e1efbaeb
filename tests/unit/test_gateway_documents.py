"""Create requests to specs, and records to Docker's documents: compared with what a 20.10.24 engine answered (gateway_recorded/)."""

import json
from pathlib import Path
from typing import Any

import pytest

from skerry.api.containers.v1 import containers_pb2 as pb
from skerry.api.images.v1 import images_pb2
from skerry.api.networks.v1 import networks_pb2
from skerry.core.errors import InvalidArgument, NotSupported
from skerry.gateway.docker import images, system
from skerry.gateway.docker.create import Wanted, parse_create
from skerry.gateway.docker.inspect import inspect
from skerry.gateway.docker.networks import network
from skerry.gateway.docker.ps import command, status, summary
from skerry.gateway.docker.sandbox import sandbox_request
from skerry.gateway.versions import Version

_RECORDED = Path(__file__).parent / "gateway_recorded"
V41, V50 = Version(1, 41), Version(1, 50)


def recorded(name: str) -> Any:
    return json.loads((_RECORDED / f"{name}.json").read_text())


def wanted(document: dict[str, Any], name: str = "", platform: str = "") -> Wanted:
    return parse_create(json.dumps(document).encode(), name, platform)


def record(document: dict[str, Any], status: pb.Status = pb.STATUS_RUNNING) -> pb.Container:
    made = wanted(document)
    container = pb.Container(
        id="1f" * 32,
        name="r1",
        created_ns=1795519378260538479,
        image_id="sha256:" + "b" * 64,
        image_name=made.image_name,
        spec=made.spec,
        state=pb.State(status=status, pid=5, run=1, started_ns=1795519378260538479),
        path="sleep",
        args=["1000"],
        log=pb.LogTarget(driver="json-file", path="/log"),
        graph_driver_name="overlay2",
        graph_driver={"LowerDir": "a", "MergedDir": "b", "UpperDir": "c", "WorkDir": "d"},
        docker_config_json=made.config_json,
        docker_host_config_json=made.host_config_json("json-file", {}),
        docker_networking_config_json=made.networking_config_json,
        runtime="runc",
    )
    container.spec.cgroupns_mode = "host"
    return container


def sandbox(container: pb.Container) -> networks_pb2.Sandbox:
    endpoint = networks_pb2.Endpoint(
        id="e" * 64,
        network_id="b" * 64,
        network_name="bridge",
        ipv4_address="172.17.0.2",
        ipv4_prefix=16,
        ipv4_gateway="172.17.0.1",
        mac_address="02:42:ac:11:00:02",
    )
    ports = [networks_pb2.PortBinding(protocol="tcp", container_port=80, host_ip=ip, host_port=8081) for ip in ("0.0.0.0", "::")]
    return networks_pb2.Sandbox(container_id=container.id, run=1, endpoints=[endpoint], ports=ports, sandbox_id="5" * 64, netns_path="/n")


def keys(document: Any) -> Any:
    """The shape of a document: names of its fields, recursively; contents of free maps and lists do not count."""
    if isinstance(document, dict):
        return {key: keys(value) for key, value in document.items() if key not in {"Labels", "Data", "Runtimes", "Details", "DriverStatus"}}
    if isinstance(document, list):
        return [keys(document[0])] if document and isinstance(document[0], dict) else []
    return None


RUN = {
    "Image": "busybox",
    "Cmd": ["sleep", "1000"],
    "ExposedPorts": {"80/tcp": {}, "99/tcp": {}},
    "HostConfig": {"PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8081"}]}},
}


def test_inspect_at_1_41_has_exactly_the_fields_of_a_20_10_engine() -> None:
    theirs = recorded("inspect-r1")
    # The request as the CLI made it: with empty lists where it has nothing to say.
    container = record({**RUN, "HostConfig": theirs["HostConfig"]})
    ours = inspect(container, sandbox(container), None, V41)
    assert keys(ours) == keys(theirs)
    assert ours["NetworkSettings"]["Ports"] == theirs["NetworkSettings"]["Ports"]
    assert ours["NetworkSettings"]["Networks"]["bridge"]["IPAddress"] == theirs["NetworkSettings"]["IPAddress"]
    assert ours["State"].keys() == theirs["State"].keys()


def test_host_config_at_1_41_has_the_defaults_that_a_20_10_engine_fills_in() -> None:
    container = record({"Image": "busybox"}, pb.STATUS_CREATED)
    ours, theirs = inspect(container, None, None, V41)["HostConfig"], recorded("inspect-m1")["HostConfig"]
    assert ours.pop("Runtime") == "runc"  # that engine left it out here, and shows it for the CLI's requests
    assert ours == theirs


def test_given_options_come_back_as_a_20_10_engine_shows_them() -> None:
    theirs = recorded("inspect-d1")
    asked = {**theirs["Config"], "HostConfig": theirs["HostConfig"]}
    assert inspect(record(asked), None, None, V41)["HostConfig"] == theirs["HostConfig"]


def test_newer_versions_have_newer_fields_and_lack_old_ones() -> None:
    container = record(RUN)
    document = inspect(container, sandbox(container), None, V50)
    assert "KernelMemory" not in document["HostConfig"]
    assert {"DNSNames", "GwPriority"} <= document["NetworkSettings"]["Networks"]["bridge"].keys()


def test_a_stopped_container_has_no_address_but_its_network() -> None:
    container = record(RUN, pb.STATUS_EXITED)
    settings = inspect(container, None, networks_pb2.Network(id="b" * 64), V41)["NetworkSettings"]
    assert settings["Ports"] == {}
    assert settings["IPAddress"] == settings["SandboxID"] == ""
    assert settings["Networks"]["bridge"]["NetworkID"] == "b" * 64


def test_ps_has_exactly_the_fields_of_a_20_10_engine() -> None:
    container = record(RUN)
    ours = summary(container, sandbox(container), lambda c: c.image_name, V41)
    theirs = dict(recorded("ps")[-1])
    del theirs["SizeRootFs"]  # it was asked for sizes
    assert keys(ours | {"Mounts": []}) == keys(theirs | {"Mounts": []})
    assert ours["Command"] == "sleep 1000"


def test_arguments_with_spaces_are_quoted_in_ps() -> None:
    assert command(pb.Container(path="sh", args=["-c", "echo hi"])) == "sh -c 'echo hi'"


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (pb.State(status=pb.STATUS_RUNNING, started_ns=10**18), "Up 5 seconds"),
        (pb.State(status=pb.STATUS_PAUSED, started_ns=10**18), "Up 5 seconds (Paused)"),
        (pb.State(status=pb.STATUS_EXITED, exit_code=3, finished_ns=10**18), "Exited (3) 5 seconds ago"),
        (pb.State(status=pb.STATUS_RESTARTING, exit_code=1, finished_ns=10**18), "Restarting (1) 5 seconds ago"),
        (pb.State(status=pb.STATUS_CREATED), "Created"),
        (pb.State(status=pb.STATUS_DEAD), "Dead"),
        (pb.State(status=pb.STATUS_REMOVING), "Removal In Progress"),
    ],
)
def test_status_words(state: pb.State, text: str) -> None:
    assert status(state, 10**18 + 5 * 10**9) == text


def test_a_sandbox_is_asked_for_as_the_host_config_says() -> None:
    request = sandbox_request(record({**RUN, "HostConfig": {**RUN["HostConfig"], "PublishAllPorts": True, "Dns": ["1.1.1.1"]}}), 3)  # type: ignore[dict-item]
    assert request.run == 3
    assert request.mode == networks_pb2.NETWORK_MODE_NETWORKS
    assert [endpoint.network for endpoint in request.endpoints] == ["bridge"]
    assert [(port.container_port, port.host_port) for port in request.ports] == [(80, 8081)]
    assert list(request.publish_exposed) == ["80/tcp", "99/tcp"]
    assert list(request.dns) == ["1.1.1.1"]
    assert request.hostname == "1f" * 6


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("host", networks_pb2.NETWORK_MODE_HOST),
        ("none", networks_pb2.NETWORK_MODE_NONE),
        ("container:" + "a" * 64, networks_pb2.NETWORK_MODE_CONTAINER),
    ],
)
def test_network_modes(mode: str, expected: networks_pb2.NetworkMode) -> None:
    request = sandbox_request(record({"Image": "busybox", "HostConfig": {"NetworkMode": mode}}), 1)
    assert request.mode == expected
    assert not request.endpoints
    assert request.join_container_id == ("a" * 64 if mode.startswith("container:") else "")


HOST_WRONG = [
    ({"AutoRemove": True, "RestartPolicy": {"Name": "always"}}, "can't create 'AutoRemove' container with restart policy"),
    ({"RestartPolicy": {"Name": "foo"}}, "invalid restart policy 'foo'"),
    ({"RestartPolicy": {"Name": "always", "MaximumRetryCount": 3}}, "maximum retry count cannot be used with restart policy 'always'"),
    ({"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": -3}}, "maximum retry count cannot be negative"),
    ({"NetworkMode": "container:x", "Dns": ["1.1.1.1"]}, "conflicting options: dns and the network mode"),
    ({"NetworkMode": "container:x", "ExtraHosts": ["a:1.1.1.1"]}, "conflicting options: custom host-to-IP mapping and the network mode"),
    (
        {"NetworkMode": "container:x", "PortBindings": {"80/tcp": []}},
        "conflicting options: port publishing and the container type network mode",
    ),
    ({"PortBindings": {"80/tcp": [{"HostPort": "a"}]}}, 'invalid port specification: "a"'),
    ({"PortBindings": {"99999/tcp": [{"HostPort": "1"}]}}, 'invalid port specification: "99999"'),
    ({"MemorySwappiness": -2}, "Invalid value: -2, valid memory swappiness range is 0-100"),
    ({"IOMaximumIOps": 1}, "Invalid QoS settings: linux does not support configuration of maximum IOPs"),
    ({"ShmSize": -1}, "SHM size can not be less than 0"),
    ({"OomScoreAdj": 2000}, "Invalid value 2000, range for oom score adj is [-1000, 1000]"),
    ({"ExtraHosts": ["zz"]}, 'bad format for add-host: "zz"'),
]


@pytest.mark.parametrize(("host", "text"), HOST_WRONG)
def test_wrong_host_configs_are_refused_in_the_words_of_a_20_10_engine(host: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        wanted({"Image": "busybox", "HostConfig": host})
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({}, "Config cannot be empty in order to create a container"),
        ({"Image": ""}, "No command specified"),
        ({"Image": "b", "Env": ["=a"]}, "invalid environment variable: =a"),
        ({"Image": "b", "WorkingDir": "a"}, "the working directory 'a' is invalid, it needs to be an absolute path"),
        ({"Image": "b", "StopSignal": "FOO"}, "Invalid signal: FOO"),
        (
            {"Image": "b", "Hostname": "x", "HostConfig": {"NetworkMode": "container:d1"}},
            "conflicting options: hostname and the network mode",
        ),
        ({"Image": "b", "Hostname": "x", "HostConfig": {"UTSMode": "host"}}, "conflicting options: hostname and the UTS mode"),
        (
            {"Image": "b", "ExposedPorts": {"80/tcp": {}}, "HostConfig": {"NetworkMode": "container:d1"}},
            "conflicting options: port exposing and the container type network mode",
        ),
    ],
)
def test_wrong_configs_are_refused_in_the_words_of_a_20_10_engine(document: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        wanted(document)
    assert str(caught.value) == text


@pytest.mark.parametrize("name", ["a", "!!", "-a", "a b", "é"])
def test_wrong_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        wanted({"Image": "b"}, name)
    assert str(caught.value) == f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"


@pytest.mark.parametrize(
    "host",
    [
        {"Links": ["x:y"]},
    ],
)
def test_what_is_not_supported_is_refused_by_name(host: dict[str, Any]) -> None:
    with pytest.raises(NotSupported, match=f"HostConfig.{next(iter(host))}"):
        wanted({"Image": "b", "HostConfig": host})


def test_entrypoint_given_empty_differs_from_not_given() -> None:
    assert not wanted({"Image": "b"}).spec.HasField("entrypoint")
    assert wanted({"Image": "b", "Entrypoint": []}).spec.HasField("entrypoint")
    # What the CLI sends for --entrypoint "": the node drops the image's command too.
    assert list(wanted({"Image": "b", "Entrypoint": [""]}).spec.entrypoint.values) == [""]
    assert list(wanted({"Image": "b", "Cmd": "x y"}).spec.cmd.values) == ["x y"]


def image() -> images_pb2.Image:
    config = {"config": {"Env": ["PATH=/bin"], "Cmd": ["sh"], "Labels": {"a": "b"}}, "history": [{"comment": "Imported from -"}]}
    return images_pb2.Image(
        id="sha256:" + "b" * 64,
        repo_tags=["busybox:latest"],
        created_ns=1795519378241361647,
        architecture="amd64",
        os="linux",
        size=1982412,
        layers=[images_pb2.Layer(diff_id="sha256:1", size=1982412)],
        config=images_pb2.ImageConfig(labels={"a": "b"}),
        config_json=json.dumps(config),
        last_tagged_ns=1795519378243210174,
    )


def test_image_inspect_at_1_41_has_exactly_the_fields_of_a_20_10_engine() -> None:
    ours, theirs = images.inspect(image(), V41), recorded("image")
    assert keys(ours) == keys(theirs)
    for field in ("Config", "Comment", "Created", "Metadata", "Size", "VirtualSize", "RepoTags"):
        assert ours[field] == theirs[field]


def test_image_inspect_at_1_50_shows_only_what_the_image_says() -> None:
    document = images.inspect(image(), V50)
    assert document["Config"] == {"Env": ["PATH=/bin"], "Cmd": ["sh"], "Labels": {"a": "b"}}
    assert not {"Container", "ContainerConfig", "VirtualSize"} & document.keys()


def test_image_list_by_version() -> None:
    assert images.summary(image(), V41).keys() == recorded("images")[0].keys()
    nameless = images_pb2.Image(id="sha256:1")
    assert images.summary(nameless, V41)["RepoTags"] == ["<none>:<none>"]
    assert images.summary(nameless, V50)["RepoTags"] == []


def test_networks_have_the_fields_of_a_20_10_engine() -> None:
    theirs = set(recorded("bridge"))
    assert set(network(networks_pb2.Network(name="bridge"), endpoints=True)) == theirs | {"EnableIPv4"}


def test_info_and_version_have_the_fields_of_a_20_10_engine() -> None:
    assert set(system.info(pb.InfoResponse(), images_pb2.InfoResponse(), "n", 0, V41)) == set(recorded("info"))
    assert set(system.version(V41)) == set(recorded("version"))


def test_info_says_that_the_image_store_is_away() -> None:
    assert system.info(pb.InfoResponse(), None, "n", 0, V50)["Warnings"] == ["WARNING: the image store is not reachable"]


def test_progress_objects() -> None:
    assert images.progress(images_pb2.Progress(id="a", status="Downloading", current=500, total=1000)) == {
        "status": "Downloading",
        "progressDetail": {"current": 500, "total": 1000},
        "progress": "[=========================>                         ]     500B/1kB",
        "id": "a",
    }
    assert images.progress(images_pb2.Progress(status="done")) == {"status": "done"}
    assert images.failure("x") == {"errorDetail": {"message": "x"}, "error": "x"}
