"""What stands before every application: nothing passes that the route table does not name and the key may not do.

In this order: request id, duplicate headers, the key (or, in development mode, loopback), the rate, the route and its
scope, the body. Every answer carries X-Request-Id, every error is of the shape of `serve.problems`, every request
leaves one line in the log "serve.access" with the route's template and the key's name: never a path, text or key that
was sent. A client's address is that of the connection; behind a proxy on this machine it is the proxy's.

The application finds in scope["state"]: `request_id`, `key` (its name) and, on routes that take one, `json` (the body,
parsed). What it puts there as `adapter` goes into log and metrics.
"""

from __future__ import annotations

import json
import logging
import math
import time
import traceback
from collections.abc import Iterable, Mapping
from enum import Enum

from serve.body import ClientGone, Incoming, replayed
from serve.keys import ApiKey, KeyRing
from serve.loopback import refuse_strangers
from serve.meters import Meters
from serve.problems import App, Message, Receive, Refusal, Scope, Send, send_error
from serve.rates import Limiter
from serve.request_ids import HEADER, PLAIN, fresh_id
from serve.rules import METHODS, UNKNOWN, Match, Rule, Table
from tuner.errors import StoreError

access = logging.getLogger("serve.access")
log = logging.getLogger(__name__)

_ONCE = frozenset(
    (
        b"authorization",
        b"x-api-key",
        b"host",
        b"origin",
        b"content-type",
        b"content-length",
        b"content-encoding",
        b"transfer-encoding",
    )
)
_WANTED = _ONCE | {HEADER, b"expect"}
_CHALLENGE = b'Bearer realm="tuner"'
_GONE = 499  # the status in log and metrics of a request whose client left before there was an answer
_SHOWN = 200


class Development(Enum):
    """Instead of keys: none are asked for, and only this machine is answered."""

    MODE = "development"


class Guard:
    """An ASGI application around another. Raises ConfigError, when made, for rules that cannot be.

    `keys` is `Development.MODE` for a server without keys; `limiter` None means no limit, as in development mode."""

    def __init__(
        self,
        app: App,
        rules: Iterable[Rule],
        keys: KeyRing | Development,
        limiter: Limiter | None,
        meters: Meters,
    ) -> None:
        self._app = app
        self._table = Table(rules)
        self._keys = keys
        self._limiter = limiter
        self._meters = meters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:  # there are no web sockets here
            await receive()
            await send({"type": "websocket.close", "code": 1008})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        headers, twice = _gathered(scope["headers"])
        request_id = headers.get(HEADER, b"")
        if not PLAIN.fullmatch(request_id):
            request_id = fresh_id()
        state = scope.setdefault("state", {})
        state["request_id"] = request_id.decode("ascii")
        match = self._table.find(scope["method"], _path(scope))
        answer = _Answer(send, request_id)
        incoming: Incoming | None = None
        try:
            if twice:
                repeated = min(twice).decode("ascii")
                raise Refusal(400, f"the header {repeated} was sent more than once.", "duplicate_header", repeated)
            incoming = Incoming(headers, receive)
            rule = await self._admit(scope, headers, match)
            if rule.takes_body:
                body, state["json"] = await incoming.json(rule.limit, rule.seconds)
                receive = replayed(body, receive)
            elif not incoming.is_over:
                if not await incoming.drain():
                    raise Refusal(413, "this route takes no body.", "body_too_large")
                receive = replayed(b"", receive)
            await self._app(scope, receive, answer)
        except Refusal as refusal:
            await self._refuse(refusal, answer, incoming)
        except ClientGone:
            answer.status = _GONE
        except Exception as error:
            # The error's own words stay out of the log: they may quote the request.
            where = "".join(traceback.format_tb(error.__traceback__))
            log.error("request %s failed with %s:\n%s", state["request_id"], type(error).__name__, where)
            await self._refuse(Refusal(500, "the server failed.", "internal_error"), answer, incoming)
        finally:
            self._note(scope, match, answer.status or _GONE, time.perf_counter() - began)

    async def _admit(self, scope: Scope, headers: Mapping[bytes, bytes], match: Match) -> Rule:
        """The rule under which a request may pass. Raises Refusal."""
        rule = match.rule
        if isinstance(self._keys, Development):
            refuse_strangers(scope.get("client"), headers)
            scope["state"]["key"] = Development.MODE.value
        elif not match.is_open:
            key = _key(self._keys, headers)
            scope["state"]["key"] = key.name
            if self._limiter is not None and (wait := await self._limiter.admit(key)) > 0:
                after = str(max(1, math.ceil(wait))).encode("ascii")
                message = f"the key {key.name} has used up its requests for now."
                raise Refusal(429, message, "rate_limit_exceeded", headers=[(b"retry-after", after)])
            if rule is not None and not key.allows(rule.scope):
                challenge = b'%s, error="insufficient_scope", scope="%s"' % (_CHALLENGE, rule.scope.encode("ascii"))
                message = f"the key {key.name} lacks the scope {rule.scope}."
                raise Refusal(403, message, "missing_scope", headers=[(b"www-authenticate", challenge)])
        if rule is not None:
            return rule
        if match.methods:
            allow = ", ".join(match.methods)
            message = f"this path takes {allow} only."
            raise Refusal(405, message, "method_not_allowed", headers=[(b"allow", allow.encode("ascii"))])
        raise Refusal(404, "there is no such path.", "not_found")

    async def _refuse(self, refusal: Refusal, answer: _Answer, incoming: Incoming | None) -> None:
        self._meters.error(refusal.code or str(refusal.status))
        if answer.status:
            return  # it has begun; the server closes a connection whose answer does not end
        reusable = incoming is not None and refusal.status not in (408, 413) and await incoming.drain()
        close = () if reusable else ((b"connection", b"close"),)
        await send_error(
            answer, refusal.status, refusal.message, refusal.code, refusal.param, (*refusal.headers, *close)
        )

    def _note(self, scope: Scope, match: Match, status: int, seconds: float) -> None:
        state = scope["state"]
        adapter = state.get("adapter")
        self._meters.request(match.path, status, adapter, seconds)
        if access.isEnabledFor(logging.INFO):
            line = {
                "time": round(time.time(), 3),
                "app": self._meters.app,
                "method": scope["method"] if scope["method"] in METHODS else UNKNOWN,
                "path": match.path,
                "status": status,
                "ms": round(1000 * seconds, 3),
                "key": state.get("key"),
                "request_id": state["request_id"],
                "adapter": adapter if adapter is None else str(adapter)[:_SHOWN],
            }
            access.info("%s", json.dumps(line))


class _Answer:
    """A `send` that adds the request id and remembers the status."""

    __slots__ = ("_request_id", "_send", "status")

    def __init__(self, send: Send, request_id: bytes) -> None:
        self._send = send
        self._request_id = request_id
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message.get("headers", ()), (HEADER, self._request_id)]
            message = {**message, "headers": headers}
        await self._send(message)


def _gathered(pairs: Iterable[tuple[bytes, bytes]]) -> tuple[dict[bytes, bytes], set[bytes]]:
    """The headers that matter here, and those of them that came more than once and may not."""
    found: dict[bytes, bytes] = {}
    twice: set[bytes] = set()
    for name, value in pairs:
        if name in _WANTED:
            if name in found and name in _ONCE:
                twice.add(name)
            found[name] = value
    return found, twice


def _path(scope: Scope) -> str:
    """The path below the application's own root, as routers see it."""
    path: str = scope["path"]
    root = scope.get("root_path", "")
    if root and path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/"):
        return path[len(root) :]
    return path


def _key(ring: KeyRing, headers: Mapping[bytes, bytes]) -> ApiKey:
    """The valid key of a request. Raises Refusal: 400 for two different ones, 401, 503 while the file is unusable."""
    direct = headers.get(b"x-api-key", b"").strip()
    scheme, _, bearer = headers.get(b"authorization", b"").strip().partition(b" ")
    bearer = bearer.strip() if scheme.lower() == b"bearer" else b""
    if direct and bearer and direct != bearer:
        raise Refusal(400, "Authorization and X-API-Key hold different keys: send one.", "two_keys")
    text = (direct or bearer).decode("latin-1")
    challenge = [(b"www-authenticate", _CHALLENGE)]
    if not text:
        message = "an API key is needed: send it as Authorization: Bearer KEY or as X-API-Key: KEY."
        raise Refusal(401, message, "missing_api_key", headers=challenge)
    try:
        key = ring.find(text)
    except StoreError as error:
        raise Refusal(503, "the server cannot read its keys; its log says more.", "keys_unreadable") from error
    challenge = [(b"www-authenticate", _CHALLENGE + b', error="invalid_token"')]
    if key is None:
        raise Refusal(401, "there is no such API key.", "invalid_api_key", headers=challenge)
    state = key.state(ring.now())
    if state != "valid":
        raise Refusal(401, f"the API key {key.name} is {state}.", "invalid_api_key", headers=challenge)
    return key
