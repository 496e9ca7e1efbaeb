"""Which endpoint, which proxy, which challenge: rules of asking registries, without any registry."""

import pytest
from yarl import URL

from skerry.core.errors import InvalidArgument
from skerry.images.registry.auth import Challenge, challenge_of
from skerry.images.registry.endpoints import endpoints
from skerry.images.registry.proxies import Proxies, from_environment
from skerry.images.registry.transport import retry_after, same_host


def bases(domain: str, mirrors: list[str], insecure: list[str], *addresses: str) -> list[str]:
    return [f"{one.base}{'' if one.verify else ' unverified'}" for one in endpoints(domain, mirrors, insecure, addresses)]


@pytest.mark.parametrize("domain", ["127.0.0.1:5000", "127.9.9.9", "localhost:5000", "[::1]:5000"])
def test_this_machine_is_insecure_and_asked_by_https_first(domain: str) -> None:
    assert bases(domain, [], []) == [f"https://{domain} unverified", f"http://{domain} unverified"]


def test_any_other_host_needs_a_good_certificate() -> None:
    assert bases("r.example:5000", [], [], "192.0.2.1") == ["https://r.example:5000"]
    assert bases("docker.io", [], []) == ["https://registry-1.docker.io"]


@pytest.mark.parametrize("insecure", ["r.example:5000", "r.example", "192.0.2.0/24", "192.0.2.1/32"])
def test_a_host_is_insecure_by_name_or_by_the_range_of_its_address(insecure: str) -> None:
    assert len(bases("r.example:5000", [], [insecure], "192.0.2.1")) == 2
    assert len(bases("other.example:5000", [], [insecure], "198.51.100.1")) == 1


def test_mirrors_are_of_docker_io_only_and_come_first() -> None:
    mirrors = ["http://127.0.0.1:5000/", "https://m.example"]
    assert bases("docker.io", mirrors, []) == ["http://127.0.0.1:5000 unverified", "https://m.example", "https://registry-1.docker.io"]
    assert bases("r.example", mirrors, []) == ["https://r.example"]


@pytest.mark.parametrize(
    ("url", "past", "proxied"),
    [
        ("https://r.example/v2/", "", True),
        ("https://localhost/v2/", "", False),
        ("https://127.0.0.5:5000/v2/", "", False),
        ("https://r.example/v2/", "example", False),
        ("https://r.example/v2/", "r.example", False),
        ("https://r.example/v2/", ".example", False),
        ("https://r.example/v2/", "*.example", False),
        ("https://example/v2/", ".example", True),
        ("https://xr.example/v2/", "r.example", True),
        ("https://r.example:5000/v2/", "r.example:5000", False),
        ("https://r.example:5001/v2/", "r.example:5000", True),
        ("https://r.example/v2/", "r.example:443", False),
        ("https://10.1.2.3/v2/", "other,10.0.0.0/8", False),
        ("https://10.1.2.3/v2/", "10.1.2.3", False),
        ("https://11.1.2.3/v2/", "10.0.0.0/8", True),
        ("https://[2001:db8::1]/v2/", "2001:db8::/32", False),
        ("https://r.example/v2/", "*", False),
    ],
)
def test_no_proxy_is_read_as_go_reads_it(url: str, past: str, proxied: bool) -> None:
    proxies = from_environment({"HTTPS_PROXY": "p.example:3128", "NO_PROXY": past})
    assert proxies.for_url(URL(url)) == ("http://p.example:3128" if proxied else None)


def test_each_scheme_has_its_proxy() -> None:
    proxies = from_environment({"http_proxy": "http://a:1", "HTTPS_PROXY": "http://b:2"})
    assert (proxies.for_url(URL("http://r.example")), proxies.for_url(URL("https://r.example"))) == ("http://a:1", "http://b:2")
    assert Proxies().for_url(URL("http://r.example")) is None
    with pytest.raises(InvalidArgument, match="socks5"):
        from_environment({"HTTP_PROXY": "socks5://a:1"})


def test_challenges() -> None:
    header = 'Bearer realm="https://a/token",service="r",scope="repository:x:pull repository:y:pull"'
    assert challenge_of(header) == Challenge("bearer", "https://a/token", "r", ("repository:x:pull", "repository:y:pull"))
    assert challenge_of('BASIC realm="x"') == Challenge("basic", "x")
    assert challenge_of("Negotiate") is None
    assert challenge_of("") is None


@pytest.mark.parametrize(
    ("value", "seconds"), [("", 0), ("7", 7), ("soon", 0), ("Thu, 01 Jan 1970 00:01:40 GMT", 90), ("Thu, 01 Jan 1970 00:00:01 GMT", 0)]
)
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float) -> None:
    assert retry_after(value, 10.0) == seconds


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://r.example/v2/", "https://r.example/token", True),
        ("https://r.example/v2/", "https://r.example:443/token", True),
        ("http://r.example/v2/", "https://r.example/v2/", True),
        ("https://r.example/v2/", "http://r.example/v2/", False),
        ("https://r.example/v2/", "https://r.example:8443/v2/", False),
        ("http://r.example:5000/v2/", "https://r.example/v2/", False),
        ("https://r.example/v2/", "https://cdn.r.example/v2/", False),
    ],
)
def test_a_password_is_only_for_the_host_it_was_meant_for(one: str, other: str, same: bool) -> None:
    assert same_host(URL(one), URL(other)) == same
