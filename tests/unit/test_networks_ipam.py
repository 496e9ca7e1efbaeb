"""Addresses and subnets: never twice, the lowest first, never one that the host uses."""

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.errors import Failed, InvalidArgument
from skerry.networks.ipam import DEFAULT_POOLS, choose_subnet, first_address, lowest_free, mac_of, subnets


def test_default_pools_are_dockers_in_their_order() -> None:
    found = list(map(str, subnets()))
    assert found[:5] == [f"172.{number}.0.0/16" for number in range(17, 22)]
    assert found[14:17] == ["172.31.0.0/16", "192.168.0.0/20", "192.168.16.0/20"]
    assert len(found) == 31


@pytest.mark.parametrize("text", ["10.0.0.1/8:16", "10.0.0.0/8:4", "ten", "10.0.0.0/8:x"])
def test_a_bad_pool_is_named(text: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid address pool"):
        list(subnets([text]))


def test_the_first_subnet_that_overlaps_nothing_is_chosen() -> None:
    assert str(choose_subnet(DEFAULT_POOLS, [])) == "172.17.0.0/16"
    assert str(choose_subnet(DEFAULT_POOLS, [IPv4Network("172.17.5.0/24"), IPv4Network("172.18.0.1/32")])) == "172.19.0.0/16"
    assert str(choose_subnet(DEFAULT_POOLS, [IPv4Network("172.16.0.0/12")])) == "192.168.0.0/20"
    with pytest.raises(Failed, match="could not find an available, non-overlapping IPv4 address pool"):
        choose_subnet(DEFAULT_POOLS, [IPv4Network("0.0.0.0/0")])


@given(st.integers(24, 30), st.lists(st.tuples(st.booleans(), st.integers(0, 300)), max_size=400))
def test_no_address_is_out_twice_and_it_is_always_the_lowest(prefix: int, steps: list[tuple[bool, int]]) -> None:
    subnet = IPv4Network(f"10.1.2.0/{prefix}")
    gateway = first_address(subnet)
    leased: set[IPv4Address] = set()
    everything = set(subnet.hosts()) - {gateway}
    for take, which in steps:
        if take:
            try:
                address = lowest_free(subnet, [gateway], sorted(leased))
            except Failed:
                assert leased == everything
                continue
            assert address == min(everything - leased)
            leased.add(address)
        elif leased:
            leased.remove(sorted(leased)[which % len(leased)])


def test_leases_of_another_subnet_do_no_harm() -> None:
    leased = [IPv4Address("9.9.9.9"), IPv4Address("10.0.0.2"), IPv4Address("172.17.0.2")]
    assert lowest_free(IPv4Network("10.0.0.0/24"), [IPv4Address("10.0.0.1")], leased) == IPv4Address("10.0.0.3")


def test_a_subnet_without_room_for_a_gateway_is_refused() -> None:
    with pytest.raises(Failed, match="failed to allocate gateway"):
        first_address(IPv4Network("10.0.0.0/31"))


def test_the_mac_follows_the_address() -> None:
    assert mac_of(IPv4Address("172.17.0.2")) == "02:42:ac:11:00:02"
