"""Who is let in, and how many at a time."""

import asyncio
import collections
import contextlib
import hmac
import time
from collections.abc import Collection, Iterator, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flowvocoder.server.answers import refused
from flowvocoder.server.limits import MOST_CONNECTIONS, MOST_HELD, Limits
from flowvocoder.server.metrics import Metrics
from flowvocoder.web.bodies import HANG_UP, LARGEST_FILE, in_time, length_of
from flowvocoder.web.names import is_own

T = TypeVar("T")

STREAM = "/v1/stream"

PATHS = frozenset((
    "/healthz", "/metrics", "/docs", "/openapi.json", "/v1/voice", "/v1/vocode", "/v1/audio/speech", "/v1/score",
    "/v1/mel", STREAM,
))  # fmt: skip
"""What figures are kept of; all else together."""

OPEN = ("/healthz", "/docs", "/openapi.json")
"""Paths that need no key."""

ALWAYS = ("/healthz", "/metrics")
"""Paths that are served while the server stops."""

_LATER = {"retry-after": "1"}


class Places:
    """How many requests and streams there are, of all clients and of one, and whether more are taken.

    Attributes:
        connections: those that are open, idle ones among them.
    """

    def __init__(self, limits: Limits):
        self.limits, self.stopping_since = limits, 0.0
        self.requests, self.streams, self.held = 0, 0, 0
        self.connections: Collection[object] = ()
        self._of: collections.Counter[str] = collections.Counter()
        self.ended = asyncio.Event()
        self._spent: collections.OrderedDict[str, float] = collections.OrderedDict()

    @property
    def stopping(self) -> bool:
        return bool(self.stopping_since)

    def stop(self) -> None:
        """From now on, nothing new is taken."""
        self.stopping_since = self.stopping_since or time.monotonic()

    def late(self, seconds: float = 0.0) -> bool:
        """Whether a server that stops has no more time, and so many seconds beyond it."""
        return self.stopping and time.monotonic() - self.stopping_since > self.limits.grace + seconds

    async def while_serving(self, work: "asyncio.Future[T]") -> T:
        """The result of the work. Raises HTTPException if the server has no more time for it; the work is cancelled."""
        ended = asyncio.create_task(self.ended.wait())
        try:
            both: set[asyncio.Future[Any]] = {work, ended}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise HTTPException(503, "The server stopped before this was done", HANG_UP)
            return work.result()
        finally:
            work.cancel()
            ended.cancel()

    @contextlib.contextmanager
    def request(self, address: str, length: int) -> Iterator[None]:
        """A place for a request with a body of so many bytes. Raises HTTPException: there is none."""
        self._check_rate(address)
        if self.requests >= self.limits.waiting:
            raise HTTPException(503, f"{self.requests} requests wait already: try again soon", _LATER)
        if self._of[address] >= self.limits.waiting_of_one:
            raise HTTPException(429, f"{self._of[address]} requests of yours wait already", _LATER)
        if self.held + length > MOST_HELD:
            raise HTTPException(503, "There is no room for this request at the moment: try again soon", _LATER)
        self.requests, self.held = self.requests + 1, self.held + length
        self._of[address] += 1
        try:
            yield
        finally:
            self.requests, self.held = self.requests - 1, self.held - length
            self._of[address] -= 1
            self._of += collections.Counter()  # drops those of none

    @contextlib.contextmanager
    def stream(self, address: str) -> Iterator[None]:
        """A place for a stream. Raises HTTPException: there is none."""
        self._check_rate(address)
        if self.streams >= self.limits.streams:
            raise HTTPException(503, f"{self.streams} streams are open already: try again soon", _LATER)
        if self._of[f"stream {address}"] >= self.limits.waiting_of_one:
            raise HTTPException(429, f"{self._of[f'stream {address}']} streams of yours are open already", _LATER)
        self.streams += 1
        self._of[f"stream {address}"] += 1
        try:
            yield
        finally:
            self.streams -= 1
            self._of[f"stream {address}"] -= 1
            self._of += collections.Counter()

    def _check_rate(self, address: str) -> None:
        """Every request costs an address 60 / rate seconds, of which it may owe a minute."""
        if not self.limits.rate:
            return
        now = time.monotonic()
        while self._spent and next(iter(self._spent.values())) < now:
            self._spent.popitem(last=False)
        paid = max(now, self._spent.get(address, now)) + 60.0 / self.limits.rate
        if paid > now + 60.0:
            wait = {"retry-after": str(max(1, round(paid - now - 60.0)))}
            raise HTTPException(429, f"More than {self.limits.rate} requests in a minute", wait)
        self._spent[address] = paid
        self._spent.move_to_end(address)


class Gate:
    """ASGI middleware: refuses what no route should see, gives every other request a place, and counts them all.

    Args:
        names: that the server answers to, beside IP addresses; empty for any.
        key: that clients must show; None: none.
    """

    def __init__(
        self, app: ASGIApp, places: Places, metrics: Metrics, names: Sequence[str] = (), key: str | None = None
    ):
        self.app, self.places, self.metrics, self.key = app, places, metrics, key
        self.names = frozenset(name.lower() for name in names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        started, status = time.monotonic(), 101 if scope["type"] == "websocket" else 0

        async def counted(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._pass(scope, receive, counted)
        except HTTPException as problem:
            await refused(problem)(scope, receive, counted)
        finally:
            path = scope["path"] if scope["path"] in PATHS else "other"
            self.metrics.requests.labels(path, str(status)).inc()
            self.metrics.seconds.labels(path).observe(time.monotonic() - started)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers, address = Headers(scope=scope), (scope["client"] or ("",))[0]
        self._check(scope, headers)
        if scope["type"] == "websocket":
            if scope["path"] != STREAM:
                raise HTTPException(404, "No stream is here", HANG_UP)
            with self.places.stream(address):
                await self.app(scope, receive, send)
            return
        length = length_of(headers, LARGEST_FILE if scope["method"] == "POST" else 0)
        if scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        with self.places.request(address, length):
            await self.app(scope, in_time(receive, length), send)

    def _check(self, scope: Scope, headers: Headers) -> None:
        """Raises HTTPException."""
        if len(self.places.connections) > MOST_CONNECTIONS:
            raise HTTPException(503, f"More than {MOST_CONNECTIONS} connections are open", {**_LATER, **HANG_UP})
        host, origin = headers.get("host", ""), headers.get("origin")
        if self.names and not is_own(host, self.names):
            raise HTTPException(403, "This server has another name; --allow-host gives it one more", HANG_UP)
        if scope["type"] == "websocket" and origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            raise HTTPException(403, "Pages of other servers may not open streams here", HANG_UP)
        if self.key is not None and scope["path"] not in OPEN and not self._has_key(headers):
            said = {"www-authenticate": "Bearer", **HANG_UP}
            raise HTTPException(401, "Send the key as `Authorization: Bearer KEY` or `X-API-Key: KEY`", said)
        if self.places.stopping and scope["path"] not in ALWAYS:
            raise HTTPException(503, "The server is stopping", {**_LATER, **HANG_UP})

    def _has_key(self, headers: Headers) -> bool:
        scheme, _, shown = headers.get("authorization", "").partition(" ")
        shown = shown.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        return self.key is not None and hmac.compare_digest(shown.encode(), self.key.encode())


async def until_gone(receive: Receive) -> None:
    """Waits until the client has hung up."""
    while (await receive())["type"] != "http.disconnect":
        await asyncio.sleep(0)
