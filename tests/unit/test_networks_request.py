"""What is let in: all that reaches paths, files and firewall commands."""

import pytest

from skerry.api.networks.v1 import networks_pb2 as pb
from skerry.core.errors import Conflict, InvalidArgument
from skerry.core.ids import new_id
from skerry.networks.ports import Binding
from skerry.networks.request import wish


def request(**fields: object) -> pb.CreateSandboxRequest:
    basics: dict[str, object] = {"container_id": new_id(), "container_name": "web", "run": 1, "mode": pb.NETWORK_MODE_NETWORKS}
    return pb.CreateSandboxRequest(**{**basics, **fields})  # type: ignore[arg-type]


def test_exposed_ports_are_published_unless_they_are_already() -> None:
    asked = wish(request(ports=[pb.PortBinding(container_port=80, host_port=8080)], publish_exposed=["80/tcp", "80/udp", "443"]))
    assert asked.bindings == (Binding("tcp", 80, "", 8080), Binding("udp", 80), Binding("tcp", 443))


def test_an_empty_list_of_endpoints_is_the_default_bridge() -> None:
    assert [attachment.network for attachment in wish(request()).attachments] == ["bridge"]
    assert [attachment.network for attachment in wish(request(mode=pb.NETWORK_MODE_NONE)).attachments] == ["none"]


@pytest.mark.parametrize("mode", [pb.NETWORK_MODE_HOST, pb.NETWORK_MODE_NONE])
def test_published_ports_are_discarded_where_there_is_no_bridge(mode: pb.NetworkMode) -> None:
    assert wish(request(mode=mode, ports=[pb.PortBinding(container_port=80)])).bindings == ()


@pytest.mark.parametrize(
    "fields",
    [
        {"container_id": "x"},
        {"container_id": "../" * 21 + "a"},
        {"container_name": "/web"},
        {"run": 0},
        {"mode": pb.NETWORK_MODE_UNSPECIFIED},
        {"mode": pb.NETWORK_MODE_CONTAINER},
        {"mode": pb.NETWORK_MODE_CONTAINER, "join_container_id": "a" * 64, "ports": [pb.PortBinding(container_port=80)]},
        {"hostname": "a b"},
        {"hostname": "a\nb"},
        {"domainname": "a#b"},
        {"dns": ["1.2.3"]},
        {"dns_options": ["a\nb"]},
        {"extra_hosts": ["a b:1.2.3.4"]},
        {"extra_hosts": ["a:1.2.3.4"] * 1001},
        {"link_hosts": ["1.2.3.4 a\tb"]},
        {"link_hosts": ["nowhere a"]},
        {"ports": [pb.PortBinding(container_port=80, host_port=70000)]},
        {"ports": [pb.PortBinding(container_port=80, host_port_end=70)]},
        {"ports": [pb.PortBinding(container_port=80, host_ip="localhost")]},
        {"ports": [pb.PortBinding(container_port=80)] * 65537},
        {"publish_exposed": ["eighty/tcp"]},
        {"publish_exposed": ["80/icmp"]},
        {"endpoints": [pb.EndpointRequest(network="bridge", mac_address="x")]},
        {"endpoints": [pb.EndpointRequest(network="bridge", aliases=["db"])]},
        {"endpoints": [pb.EndpointRequest(network="bridge"), pb.EndpointRequest(network="other")]},
    ],
)
def test_bad_requests_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(InvalidArgument):
        wish(request(**fields))


def test_a_container_cannot_join_itself() -> None:
    own = new_id()
    with pytest.raises(Conflict):
        wish(request(container_id=own, mode=pb.NETWORK_MODE_CONTAINER, join_container_id=own))
