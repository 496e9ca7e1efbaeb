"""The firewall: one nftables table of our own, with fixed chains; all that varies is an element of a set or map.

Nobody else's tables are touched, nor any policy: a packet that another table drops stays dropped, so `forbidding_chains` finds those.
Everything wanted is kept in memory, so that the whole table can be loaded again in one transaction. For the worker's thread only.
"""

import re

from skerry.core.errors import InvalidArgument
from skerry.networks.elements import LIMIT, Element, Elements
from skerry.networks.nftables import Nftables, NftablesError
from skerry.networks.ports import ANY4
from skerry.networks.records import Network, Sandbox

# pub4ip (a port of one host address) is asked before pub4 (of all). 127/8 comes from this host or not at all, as bridges may route it.
# A container that is sent back to its own bridge (its own published port, or a sibling's) must see the answer come from the gateway;
# told by addresses, as with bridge-nf-call-iptables the input device is unknown there.
_SCHEMA = """
table inet {table} {{
  set bridges {{ type ifname; }}
  set siblings {{ type ifname . ifname; }}
  set hairpin4 {{ type ipv4_addr . ifname; flags interval; }}
  set masq4 {{ type ipv4_addr; flags interval; }}
  map pub4 {{ type inet_proto . inet_service : ipv4_addr . inet_service; }}
  map pub4ip {{ type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }}
  chain published {{
    dnat ip to ip daddr . meta l4proto . th dport map @pub4ip
    dnat ip to meta l4proto . th dport map @pub4
  }}
  chain raw_prerouting {{
    type filter hook prerouting priority raw; policy accept;
    iifname != "lo" ip daddr 127.0.0.0/8 drop
    iifname != "lo" ip saddr 127.0.0.0/8 drop
  }}
  chain nat_prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    fib daddr type local jump published
  }}
  chain nat_output {{
    type nat hook output priority -100; policy accept;
    fib daddr type local jump published
  }}
  chain nat_postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname @bridges ip saddr 127.0.0.0/8 masquerade
    ct status dnat ip saddr . oifname @hairpin4 masquerade
    oifname != @bridges ip saddr @masq4 masquerade
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    ct state established,related accept
    oifname @bridges jump to_bridge
  }}
  chain to_bridge {{
    iifname . oifname @siblings accept
    ct status dnat accept
    drop comment "not published, or another network"
  }}
}}
"""
_MAPS = ("pub4", "pub4ip")
_TABLE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,30}\Z")
_CHAIN = re.compile(r"type filter hook forward priority [^;]*; policy (\w+);")


class Firewall:
    """The table in the network namespace of the thread that makes this."""

    def __init__(self, table: str) -> None:
        """Raises Failed without libnftables."""
        self._table = table
        self._nft = Nftables()
        self._elements = Elements(table)
        self._networks: dict[str, Network] = {}
        self._wanted: dict[str, list[Element]] = {}

    def add_network(self, network: Network) -> None:
        """Remembers a bridge network for the next load."""
        self._networks[network.id] = network

    def remember(self, sandbox: Sandbox) -> None:
        """Remembers a sandbox's published ports for the next load."""
        self._wanted[sandbox.container_id] = _published(sandbox)

    def load(self) -> None:
        """Replaces the whole table by what is wanted, in one transaction. Raises NftablesError."""
        devices = [f'"{network.device}"' for network in self._networks.values()]
        subnets = [network.subnet for network in self._networks.values()]
        published = [element for owned in self._wanted.values() for element in owned]
        commands = [
            f"table inet {self._table}\ndelete table inet {self._table}\n{_SCHEMA.format(table=self._table)}",
            self._add("bridges", devices),
            self._add("siblings", [f"{device} . {device}" for device in devices]),
            self._add("hairpin4", [f"{subnet} . {device}" for subnet, device in zip(subnets, devices, strict=True)]),
            self._add("masq4", subnets),
            *(self._add(name, [e.text(value=True) for e in published if e.map == name]) for name in _MAPS),
        ]
        self._nft.run("\n".join(commands))

    def publish(self, sandbox: Sandbox) -> None:
        """Opens the sandbox's ports. Idempotent. Raises OSError or NftablesError, nothing changed."""
        elements = _published(sandbox)
        if not elements:
            return
        self._wanted[sandbox.container_id] = elements
        try:
            if len(elements) > LIMIT:
                self._nft.run("\n".join(self._add(n, [e.text(value=True) for e in elements if e.map == n]) for n in _MAPS))
            else:
                self._elements.add(elements)
        except (OSError, NftablesError):
            # Most likely somebody flushed the table; with it loaded again the ports are open.
            try:
                self.load()
            except NftablesError:
                del self._wanted[sandbox.container_id]
                raise

    def withdraw(self, container_id: str) -> None:
        """Closes the sandbox's ports. Idempotent. Raises OSError."""
        elements = self._wanted.get(container_id, [])
        for start in range(0, len(elements), LIMIT):
            self._delete(elements[start : start + LIMIT])
        self._wanted.pop(container_id, None)

    def _delete(self, elements: list[Element]) -> None:
        try:
            self._elements.delete(elements)
        except FileNotFoundError:
            # Somebody else took elements, or the table, away: what is left goes one by one.
            for element in elements if len(elements) > 1 else ():
                self._delete([element])

    def complete(self) -> bool:
        """Tells whether the table with its chains is there."""
        try:
            text = self._nft.run(f"list chain inet {self._table} to_bridge\nlist chain inet {self._table} published")
        except NftablesError:
            return False
        return "drop" in text and "@pub4" in text

    def forbidding_chains(self) -> list[str]:
        """Returns "FAMILY TABLE CHAIN" of others' forward chains that drop what they do not know; they cut published ports off."""
        found = []
        table = ""
        chain = ""
        for line in self._nft.run("list chains").splitlines():
            words = line.split()
            if words[:1] == ["table"]:
                table = " ".join(words[1:3])
            elif words[:1] == ["chain"]:
                chain = words[1]
            elif (match := _CHAIN.search(line)) and match[1] == "drop" and table.split()[0] in ("ip", "inet"):
                # Ours has policy accept.
                found.append(f"{table} {chain}")
        return found

    def restore(self) -> bool:
        """Loads the table again when somebody flushed it; returns whether that was so. Raises NftablesError."""
        if self.complete():
            return False
        self.load()
        return True

    def remove(self) -> None:
        """Removes the table. Idempotent."""
        self._nft.run(f"table inet {self._table}\ndelete table inet {self._table}")

    def close(self) -> None:
        """Frees the library and the socket; the table stays."""
        self._elements.close()
        self._nft.close()

    def _add(self, name: str, elements: list[str]) -> str:
        return f"add element inet {self._table} {name} {{ {', '.join(elements)} }}" if elements else ""


def check_table(name: str) -> None:
    """Raises InvalidArgument for what cannot name a table."""
    if not _TABLE.match(name):
        raise InvalidArgument(f"invalid nftables table name {name!r}")


def _published(sandbox: Sandbox) -> list[Element]:
    if not sandbox.address:
        return []
    return [
        Element(port.protocol, port.host_port, sandbox.address, port.container_port, "" if port.host_ip == ANY4 else port.host_ip)
        for port in sandbox.ports
        if ":" not in port.host_ip
    ]
