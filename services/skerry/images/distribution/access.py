"""Who asks, what they may do, and what they are told to show: Basic and Bearer (RFC 7617, 6750; Docker's token authentication)."""

import base64
import binascii
import time

import msgspec
from aiohttp import web

from skerry.images.distribution import names
from skerry.images.distribution.refusals import Refusal
from skerry.images.distribution.tokens import ACCESS_SECONDS, Access, Tokens
from skerry.images.distribution.users import ACTIONS, EVERYTHING, PULL_ALL, User, Users

_MAX_SCOPES = 100
_MAX_FORM = 64 << 10
_CATALOG = Access("registry", "catalog", ("*",))


class Caller(msgspec.Struct, frozen=True):
    """Who asks. access: what the token names; None: no token was shown, the user's own rights hold."""

    user: User
    access: tuple[Access, ...] | None = None

    def may(self, action: str, name: str) -> bool:
        """Tells whether the caller may do this with the repository of that (canonical) name."""
        if self.access is None:
            return self.user.may(action, name)
        return any(one.type == "repository" and one.name == name and action in one.actions for one in self.access)

    @property
    def lists(self) -> bool:
        """Whether the caller may ask for the catalog."""
        return self.access is None or any((one.type, one.name) == ("registry", "catalog") for one in self.access)


def canonical(name: str) -> str:
    """Returns the one name by which rights are looked up: "library/busybox" is "busybox". Raises Refusal NAME_INVALID."""
    return names.shown(names.repository_of(name)) or name


class Gate:
    """Decides on requests. users None: nobody has a name."""

    def __init__(self, users: Users | None, tokens: Tokens, *, anonymous: str, challenge: str, url: str) -> None:
        self._users = users
        self._tokens = tokens
        self._anonymous = {"pull": User("", "", PULL_ALL), "everything": User("", "", EVERYTHING)}.get(anonymous)
        self._challenge = challenge
        self._url = url.rstrip("/")

    async def caller(self, request: web.Request, scope: str = "") -> Caller | None:
        """Returns who asks; None: nobody that says a name, where everybody must. Raises Refusal for wrong credentials."""
        scheme, _, rest = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "basic":
            return Caller(await self._basic(request, rest.strip(), scope))
        if scheme.lower() == "bearer":
            claims = self._tokens.check(rest.strip(), "access")
            if claims is None:
                raise self._who(request, "the token is not valid", scope, error="invalid_token")
            user = (await self._users.load()).get(claims.sub) if self._users and claims.sub else self._anonymous
            if user is None:
                raise self._who(request, "the token's user is gone", scope, error="invalid_token")
            return Caller(user, claims.access)
        return Caller(self._anonymous) if self._anonymous else None

    async def ping(self, request: web.Request) -> None:
        """Checks a request for /v2/ itself. Raises Refusal."""
        caller = await self.caller(request)
        # Docker learns here whom to ask for tokens, and `docker login` whether a password is right.
        if caller is None or (self._users is not None and "Authorization" not in request.headers and self._challenge == "bearer"):
            raise self._who(request, "authentication required")

    async def check(self, request: web.Request, action: str, name: str) -> Caller:
        """Checks that the caller may do this; returns who it is. Raises Refusal UNAUTHORIZED, DENIED."""
        wanted = canonical(name)
        actions = "pull" if action == "pull" else "pull,push" if action == "push" else "delete"
        scope = f"repository:{name}:{actions}"
        caller = await self.caller(request, scope)
        if caller is not None and caller.may(action, wanted):
            return caller
        if caller is not None and caller.access is None and caller.user.name:
            raise Refusal("DENIED", "requested access to the resource is denied")
        if caller is not None and self._users is None:
            raise Refusal("DENIED", "this registry is read-only")
        raise self._who(request, "authentication required", scope, error="insufficient_scope" if caller and caller.access else "")

    async def check_catalog(self, request: web.Request) -> Caller:
        """Checks that the caller may list repositories. Raises Refusal UNAUTHORIZED."""
        scope = "registry:catalog:*"
        caller = await self.caller(request, scope)
        if caller is None or not caller.lists:
            raise self._who(request, "authentication required", scope)
        return caller

    def _who(self, request: web.Request, text: str, scope: str = "", *, error: str = "") -> Refusal:
        if self._users is None and self._anonymous is not None and not error:
            return Refusal("DENIED", text)
        if self._challenge == "basic" or not request.host:
            header = f'Basic realm="{self._tokens.service}"'
        else:
            realm = f"{self._url or f'{request.scheme}://{request.host}'}/token"
            header = f'Bearer realm="{realm}",service="{self._tokens.service}"'
            header += f',scope="{scope}"' if scope else ""
            header += f',error="{error}"' if error else ""
        return Refusal("UNAUTHORIZED", text, headers={"WWW-Authenticate": header})

    async def _basic(self, request: web.Request, encoded: str, scope: str) -> User:
        try:
            name, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeError):
            raise self._who(request, "malformed credentials", scope) from None
        user = await self._users.authenticate(name, password) if self._users and colon else None
        if user is None:
            raise self._who(request, "incorrect username or password", scope)
        return user

    async def token(self, request: web.Request) -> web.Response:
        """Answers GET and POST /token: who has credentials, or where nobody needs them, gets a token for what they may do."""
        refresh_for: User | None = None
        if request.method == "POST":
            user, scopes, refresh_for = await self._form(request)
        else:
            header = request.headers.get("Authorization", "")
            if header.lower().startswith("basic "):
                user = await self._basic(request, header[6:].strip(), "")
                refresh_for = user if request.query.get("offline_token") == "true" else None
            elif self._anonymous is not None:
                user = self._anonymous
            else:
                raise Refusal("UNAUTHORIZED", "authentication required", headers={"WWW-Authenticate": 'Basic realm="tokens"'})
            scopes = request.query.getall("scope", [])
        granted = tuple(granted_to(user, scopes))
        token = self._tokens.access(user.name, granted)
        issued = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        answer = {"token": token, "access_token": token, "expires_in": ACCESS_SECONDS, "issued_at": issued}
        if refresh_for is not None:
            answer["refresh_token"] = self._tokens.refresh(refresh_for.name, refresh_for.hash)
        return web.Response(body=msgspec.json.encode(answer), content_type="application/json", headers={"Cache-Control": "no-store"})

    async def _form(self, request: web.Request) -> tuple[User, list[str], User | None]:
        """Reads the OAuth2 form (grant_type password or refresh_token)."""
        if (request.content_length or 0) > _MAX_FORM:
            raise Refusal("DENIED", "the form is too large", status=413)
        form = {key: str(value) for key, value in (await request.post()).items()}
        user: User | None = None
        kind = form.get("grant_type")
        if kind == "password" and self._users is not None:
            user = await self._users.authenticate(form.get("username", ""), form.get("password", ""))
        elif kind == "refresh_token" and self._users is not None:
            claims = self._tokens.check(form.get("refresh_token", ""), "refresh")
            known = (await self._users.load()).get(claims.sub) if claims else None
            user = known if known and claims and self._tokens.mark(known.hash) == claims.mark else None
        if user is None:
            raise Refusal("UNAUTHORIZED", "incorrect username or password")
        offline = kind == "refresh_token" or form.get("access_type") == "offline"
        return user, form.get("scope", "").split(), user if offline else None


def granted_to(user: User, scopes: list[str]) -> list[Access]:
    """Returns what of the asked scopes ("repository:NAME:ACTION,ACTION") the user gets."""
    granted = []
    for scope in [word for text in scopes for word in text.split()][:_MAX_SCOPES]:
        kind, _, rest = scope.partition(":")
        name, _, asked = rest.rpartition(":")
        if kind == "registry" and name == "catalog":
            granted.append(_CATALOG)
        if kind != "repository":
            continue
        try:
            wanted = canonical(name)
        except Refusal:
            continue
        actions = ACTIONS if "*" in asked.split(",") else tuple(one for one in ACTIONS if one in asked.split(","))
        granted.append(Access("repository", wanted, tuple(one for one in actions if user.may(one, wanted))))
    return granted
