"""Build arguments: what `ARG` declares, in which scope, and what `--build-arg` says."""

from collections.abc import Mapping

# Declared without an ARG, and left out of the history unless an ARG names them.
PREDEFINED = frozenset({"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "FTP_PROXY", "ftp_proxy", "NO_PROXY", "no_proxy"})


class BuildArgs:
    """The arguments of a build, or, as `stage()` returns it, of one of its stages."""

    def __init__(self, given: Mapping[str, str | None]) -> None:
        """given: --build-arg; None is a name without a value, which the client's environment did not have."""
        self._given = given
        self._declared: dict[str, str | None] = {}
        self._meta: dict[str, str | None] = {}
        self._named: set[str] = set()

    def stage(self) -> "BuildArgs":
        """Returns the arguments of a new stage: nothing is declared, but an ARG there may take the value from before the first FROM."""
        copy = BuildArgs(self._given)
        copy._meta = dict(self._meta)
        copy._named = set(self._named)
        return copy

    def seen_in(self, stage: "BuildArgs") -> None:
        """Takes over which arguments a finished stage named."""
        self._named |= stage._named

    def declare(self, name: str, value: str | None) -> None:
        """Declares by `ARG name[=value]`."""
        self._declared[name] = value
        self._named.add(name)

    def declare_meta(self, name: str, value: str | None) -> None:
        """Declares by an ARG before the first FROM."""
        self.declare(name, value)
        self._meta[name] = value

    def unused(self) -> list[str]:
        """Returns the given arguments that no ARG named, sorted."""
        return sorted(set(self._given) - self._named - PREDEFINED)

    def in_history(self, name: str) -> bool:
        """Tells whether the argument is part of the cache key and the history."""
        return name in self._declared or name not in PREDEFINED

    def allowed(self) -> dict[str, str]:
        """Returns the declared and predefined arguments that have a value."""
        return self._values(self._declared)

    def meta(self) -> dict[str, str]:
        """Returns what a FROM may use."""
        return self._values(self._meta)

    def beside(self, env: Mapping[str, str]) -> dict[str, str]:
        """Returns the allowed ones that ENV does not overrule."""
        return {name: value for name, value in self.allowed().items() if name not in env}

    def _values(self, declared: Mapping[str, str | None]) -> dict[str, str]:
        found: dict[str, str] = {}
        for name in (*declared, *sorted(PREDEFINED - declared.keys())):
            value = self._given.get(name)
            if value is None:
                value = declared.get(name)
            if value is None:
                value = self._meta.get(name)
            if value is not None:
                found[name] = value
        return found
