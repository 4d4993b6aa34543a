"""The application, and the server that runs it until it is told to stop."""

import contextlib
import dataclasses
import socket
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import FrameType

import uvicorn
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response

from flowvocoder import __version__
from flowvocoder.errors import ConfigError, FlowVocoderError
from flowvocoder.server.answers import refused
from flowvocoder.server.gate import STREAM, Gate, Places
from flowvocoder.server.limits import LARGEST_MESSAGE, MOST_CONNECTIONS, Limits
from flowvocoder.server.metrics import Metrics
from flowvocoder.server.page import docs
from flowvocoder.server.protocol import AnsweringProtocol
from flowvocoder.server.queue import Queue
from flowvocoder.server.routes import Api
from flowvocoder.server.service import Service, option_problem
from flowvocoder.server.stream import StreamApi
from flowvocoder.text.acoustic import Acoustic
from flowvocoder.vocoder import Vocoder
from flowvocoder.web.names import own_names
from flowvocoder.web.sockets import RefusingProtocol

SAYING_SECONDS = 5.0
"""To tell those whose time is over."""

DEMO = "/demo"
"""Where the demo's page is."""

READERS = 2
"""Bodies that are read at a time."""


@dataclasses.dataclass(frozen=True)
class Application:
    """What is served, and the places in it."""

    app: FastAPI
    places: Places


def build(
    vocoder: Vocoder,
    limits: Limits,
    names: Sequence[str] = (),
    key: str | None = None,
    tts: Acoustic | None = None,
    wyoming: socket.socket | None = None,
) -> Application:
    """The application.

    Args:
        names: it answers to these and to IP addresses; empty for any.
        key: that clients must show; None: none.
        tts: what makes mels of text; None: nothing does.
        wyoming: where it listens for the Wyoming protocol, too.
    """
    pools = [ThreadPoolExecutor(n, name) for n, name in
             ((limits.workers, "synthesis"), (limits.workers, "streams"), (READERS, "reading"),
              (limits.workers, "texts"))]  # fmt: skip
    service, places = Service(vocoder, limits.longest, tts), Places(limits)
    metrics = Metrics(lambda: places.requests, lambda: places.streams)
    queue = Queue(pools[0], limits.workers, limits.batch, metrics.batches.observe)
    api = Api(service, places, metrics, queue, pools[2], pools[3], limits.timeout)

    def spoken_to(listening: socket.socket) -> contextlib.AbstractAsyncContextManager[None]:
        from flowvocoder.server.wyoming import WyomingApi  # of a library that only this needs

        return WyomingApi(service, places, queue, pools[3], limits.timeout).serving(listening)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with contextlib.nullcontext() if wyoming is None else spoken_to(wyoming):
            yield
        for pool in pools:
            pool.shutdown(wait=False, cancel_futures=True)

    app = FastAPI(
        title="flowvocoder", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan,
        description='A refusal is {"error": {"code": ..., "message": ..., "status": ...}}.',
    )  # fmt: skip
    app.include_router(api.router())
    app.websocket(STREAM)(StreamApi(service, places, metrics, pools[1]).serve)
    app.get("/docs", include_in_schema=False)(lambda: HTMLResponse(docs(app.openapi())))
    for kind in (FlowVocoderError, HTTPException, RequestValidationError, ValidationError, ClientDisconnect, Exception):
        app.add_exception_handler(kind, _refuse)
    app.add_middleware(Gate, places=places, metrics=metrics, names=names, key=key)
    return Application(app, places)


async def _refuse(request: Request, problem: Exception) -> Response:
    if isinstance(problem, RequestValidationError | ValidationError):
        problem = option_problem(dict(problem.errors()[0]))
    if isinstance(problem, ClientDisconnect):  # nobody hears it; but it is no fault of the server's to be logged
        problem = HTTPException(400, "The client hung up")
    return refused(problem)


class GracefulServer(uvicorn.Server):
    """At the first signal it refuses what is new, finishes what it has, and ends; at the second it ends at once."""

    def __init__(self, application: Application):
        config = uvicorn.Config(
            application.app, http=AnsweringProtocol, ws=RefusingProtocol, ws_max_size=LARGEST_MESSAGE,
            ws_per_message_deflate=False, log_level="warning", access_log=False,
            server_header=False, timeout_graceful_shutdown=5,
            ws_ping_interval=None,  # a client whose frames wait could not answer; `IDLE_SECONDS` ends dead ones
        )  # fmt: skip
        super().__init__(config)
        self.places = application.places
        self.places.connections = self.server_state.connections

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal handler."""
        if self.places.stopping:
            super().handle_exit(sig, frame)
        else:
            self._captured_signals.append(sig)  # raised again at the end: the exit code is that of the signal
            self.places.stop()

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        places = self.places
        if places.late():
            places.ended.set()  # what is left hears of it, for which it has some seconds
        if places.stopping and (places.requests + places.streams == 0 or places.late(SAYING_SECONDS)):
            self.should_exit = True
        return await super().on_tick(counter)


def serve(
    vocoder: Vocoder,
    limits: Limits,
    host: str,
    port: int,
    names: Sequence[str] = (),
    key: str | None = None,
    tts: Acoustic | None = None,
    demo: str | None = None,
    wyoming: int | None = None,
) -> None:
    """Serve until interrupted or terminated.

    Args:
        host, port: where to listen.
        names: the server answers to these too, if only this machine can reach it.
        key, tts: as `build`.
        demo: what the demo calls the voice, which it then shows at `DEMO`; None: no demo.
        wyoming: port for the Wyoming protocol; None: none.

    Raises:
        ConfigError: the port is taken.
    """
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(_listen(host, port))
        spoken = None if wyoming is None else stack.enter_context(_listen(host, wyoming))
        application = build(vocoder, limits, own_names(host, names), key, tts, spoken)
        stack.enter_context(with_demo(application, vocoder, demo, tts))
        bare = host.strip("[]")
        shown = f"[{bare}]" if ":" in bare else bare
        address = f"http://{shown}:{listening.getsockname()[1]}"
        also = f", the demo at {address}{DEMO}" * (demo is not None)
        if spoken is not None:
            also += f", Wyoming at tcp://{shown}:{spoken.getsockname()[1]}"
        print(f"flowvocoder serve at {address}{also} (Ctrl-C stops it)", flush=True)
        GracefulServer(application).run([listening])


def _listen(host: str, port: int) -> socket.socket:
    bare = host.strip("[]")
    try:
        return socket.create_server(
            (bare, port), family=socket.AF_INET6 if ":" in bare else socket.AF_INET, backlog=MOST_CONNECTIONS
        )
    except (OSError, UnicodeError) as error:
        why = str(getattr(error, "strerror", None) or "no address").partition(" (while")[0]  # Python adds the address
        raise ConfigError(
            f"port {port} of {host} cannot be used ({why}): choose another with --port, --wyoming or --host"
        ) from error


def with_demo(
    application: Application, vocoder: Vocoder, name: str | None, tts: Acoustic | None
) -> contextlib.AbstractContextManager[None]:
    """While the demo's page is on the server, if it has a name for the voice."""
    if name is None:
        return contextlib.nullcontext()
    from flowvocoder.demo.app import mounted  # imports Gradio
    from flowvocoder.demo.service import Service as Demo

    return mounted(Demo({name: vocoder}, tts), application.app, DEMO)
