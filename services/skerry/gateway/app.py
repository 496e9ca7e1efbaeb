"""From an HTTP request to its handler: paths with and without a version, common headers, errors."""

import asyncio
import logging
import re
from collections.abc import Mapping, Sequence
from urllib.parse import unquote

import grpc.aio
from aiohttp import web

from skerry.core.errors import InvalidArgument, NotFound, SkerryError
from skerry.gateway import errors
from skerry.gateway.call import COMMON_HEADERS, Call, Handler, Route
from skerry.gateway.peers import Peers
from skerry.gateway.routes import ALL
from skerry.gateway.versions import BAD_INPUT_IS_400, CURRENT, negotiate

_log = logging.getLogger(__name__)
_VERSIONED = re.compile(r"/v([0-9][0-9.]*)(/.*)\Z")
_PARAMETER = re.compile(r"\{(\w+)(\.\.\.)?\}")


class Router:
    """Finds handlers. A route of fixed words wins over one with parameters, the earlier one over the later."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._fixed: dict[tuple[str, str], Handler] = {}
        self._patterns: dict[tuple[str, str], list[tuple[re.Pattern[str], Handler]]] = {}
        for method, path, handler in routes:
            if "{" not in path:
                self._fixed[method, path] = handler
                continue
            pattern = _PARAMETER.sub(lambda found: f"(?P<{found[1]}>{'.+' if found[2] else '[^/]+'})", path)
            self._patterns.setdefault((method, path.split("/", 2)[1]), []).append((re.compile(pattern + r"\Z"), handler))

    def find(self, method: str, path: str) -> tuple[Handler, Mapping[str, str]] | None:
        """Returns the handler of an undecoded path and its decoded parameters."""
        if (handler := self._fixed.get((method, path))) is not None:
            return handler, {}
        for pattern, handler in self._patterns.get((method, path.split("/", 2)[1]), ()):
            if (match := pattern.match(path)) is not None:
                return handler, {key: unquote(value) for key, value in match.groupdict().items()}
        return None


class App:
    """The handler of aiohttp's low-level server."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers
        self._router = Router(ALL)

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        bad_input = 400
        call: Call | None = None
        try:
            path, version = request.rel_url.raw_path, CURRENT
            if (match := _VERSIONED.match(path)) is not None:
                path = match[2]
                version = negotiate(match[1])
                bad_input = 400 if version >= BAD_INPUT_IS_400 else 500
            found = self._router.find(request.method, path)
            if found is None:
                raise NotFound("page not found")
            handler, params = found
            call = Call(request=request, version=version, params=params, peers=self._peers)
            return await handler(call)
        except asyncio.CancelledError:
            raise
        except (ConnectionError, web.HTTPException):
            raise
        except (SkerryError, grpc.aio.AioRpcError) as error:
            failure: Exception = error
        except UnicodeError as error:
            failure = InvalidArgument(f"invalid text in request: {error}")
        except Exception as error:  # noqa: BLE001 - the edge of a request: logged and answered as a bug
            failure = error
        if call is not None and call.begun:
            # The head is out: the client must see that the answer is not whole.
            _log.warning("answer cut off", extra={"path": request.path, "error": str(failure)})
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError("answer cut off")
        return errors.response(failure, head=request.method == "HEAD", bad_input=bad_input, headers=COMMON_HEADERS)
