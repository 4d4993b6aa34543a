"""What the demo's server lets in.

Gradio fetches addresses for whoever asks: through `file=`, and through every input, a slider's too. Here nothing is
fetched: a file is one that was uploaded.
"""

import html
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

import gradio as gr
from gradio.exceptions import InvalidPathError
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from flowvocoder.web.names import is_own

API = "/gradio_api/"

ROUTES = frozenset((
    "app_id", "call", "cancel", "config", "file=", "heartbeat", "info", "login_check", "openapi.json", "queue", "reset",
    "run", "startup-events", "theme.css", "upload", "upload_progress",
))  # fmt: skip
"""What the page and API clients use of Gradio's API; new versions add rooms, some of which fetch things."""

LOCAL_FILE = re.compile(r"/(?![/\\])|[A-Za-z]:[/\\]")
"""How a file's full path starts, and no address."""

UPLOAD_IT = "Upload the file itself: this server fetches no addresses"


class Door:
    """ASGI middleware: answers 403 to requests for other hosts, for addresses, and for rooms that nothing here uses.

    Args:
        hosts: names that the server answers to, beside IP addresses; empty for any name.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str] = ()):
        self.app = app
        self.hosts = frozenset(name.lower() for name in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope) if scope["type"] == "http" else ""
        answer = PlainTextResponse(refusal, 403) if refusal else self.app
        await answer(scope, receive, send)

    def _refusal(self, scope: Scope) -> str:
        host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
        if self.hosts and not is_own(host, self.hosts):
            return "This server has another name; --allow-host gives it one more"
        _, found, path = scope["path"].partition(API)
        if not found:
            return ""
        route = re.match("[^/=]*=?", path)
        assert route is not None
        if route[0] == "proxy=" or (route[0] == "file=" and not LOCAL_FILE.match(path, route.end())):
            return UPLOAD_IT
        return "" if route[0] in ROUTES else "Not served here"


class UploadsOnly(gr.Blocks):
    """A page all of whose inputs take files that were uploaded to it and no addresses, and numbers where they ask for
    some. Refusals tell nothing of the server."""

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *rest: Any, **options: Any) -> Any:
        """Gradio's hook before any function is called, whichever way the request came."""
        if not all(LOCAL_FILE.match(path) for path in _paths(inputs)):
            raise _refusal(UPLOAD_IT)
        for component, value in zip(block_fn.inputs, inputs, strict=False):
            if isinstance(component, gr.Number | gr.Slider) and not _is_number(value):
                raise _refusal(f"{component.label} must be a number")
        try:
            return await super().preprocess_data(block_fn, inputs, *rest, **options)
        except gr.Error as error:
            raise _refusal(error.message) from error
        except InvalidPathError as error:
            raise _refusal("Upload the file itself: it is not on this server") from error
        except Exception as error:
            raise _refusal("These are not the inputs that this takes: see Use via API") from error


def _refusal(text: str) -> gr.Error:
    return gr.Error(html.escape(text[:300]), 20, title="That did not work", print_exception=False)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _paths(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("path"), str):
            yield value["path"]
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _paths(item)
