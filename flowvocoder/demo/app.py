"""The page itself, and the server for it."""

import html
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr
import torch
from fastapi import FastAPI
from starlette.middleware import Middleware

from flowvocoder.demo.door import Door, UploadsOnly
from flowvocoder.demo.limits import KEEP_SECONDS, Bodies, share_queue
from flowvocoder.demo.page import Page
from flowvocoder.demo.parts import EXAMPLES
from flowvocoder.demo.service import Service
from flowvocoder.demo.style import CSS, THEME
from flowvocoder.demo.tabs import TABS
from flowvocoder.ending import surely
from flowvocoder.errors import ConfigError
from flowvocoder.unfinished import scratch
from flowvocoder.web.bodies import LARGEST_FILE, WAITING
from flowvocoder.web.connections import impatient_connections
from flowvocoder.web.names import own_names

QUEUE_LOOK_SECONDS = 0.05
"""Gradio's own millisecond between looks for requests costs a server that nobody visits a fourteenth of a core."""


def build(service: Service) -> gr.Blocks:
    """The page over a service."""
    with UploadsOnly(title="flowvocoder", analytics_enabled=False, delete_cache=(60, KEEP_SECONDS)) as blocks:
        gr.HTML(_head(service), elem_id="head")
        page = Page(blocks)
        with gr.Tabs(overflow_behavior="wrap"):
            for tab in TABS:
                tab.build(service, page)
    blocks.queue(max_size=WAITING, default_concurrency_limit=4, api_open=False)  # nobody passes the queue by
    share_queue(blocks._queue)
    blocks._queue.sleep_when_free = QUEUE_LOOK_SECONDS
    return blocks


def serve(service: Service, host: str, port: int, share: bool, names: Sequence[str] = ()) -> None:
    """Serve until interrupted or terminated. Files of visitors are deleted while it runs and when it ends.

    Args:
        host, port: where to listen.
        share: also at a public address, through Gradio's servers.
        names: the server answers to these too, if only this machine can reach it.

    Raises:
        ConfigError: the port is taken.
    """
    with _own_folder():
        blocks = build(service)
        try:
            launch(blocks, host, port, share, names)
        except OSError as error:
            raise ConfigError(f"port {port} of {host} cannot be used: choose another with --port") from error
        with surely(blocks.close):
            blocks.block_thread()


def launch(blocks: gr.Blocks, host: str, port: int, share: bool, names: Sequence[str] = ()) -> str:
    """Start the server in a thread; returns its address."""
    hosts = [] if share else own_names(host, names)
    # As it starts, Gradio asks its own server for a page, and would ask a proxy that the environment names.
    direct = os.environ.get("no_proxy", os.environ.get("NO_PROXY", ""))
    os.environ["no_proxy"] = ",".join([direct, "localhost", "127.0.0.1", host])
    with impatient_connections():
        _, address, _ = blocks.launch(
            server_name=host,
            server_port=port,
            share=share,
            prevent_thread_lock=True,
            quiet=True,
            _frontend=False,  # no look at the own page within 3 s: on a busy machine that takes longer, and ends it all
            **_common(blocks, hosts),
        )
    print(f"flowvocoder demo at {address} (Ctrl-C stops it)", flush=True)
    return str(address)


@contextmanager
def mounted(service: Service, app: FastAPI, path: str) -> Iterator[None]:
    """The page is at `path` of another server, which checks the names it is asked by. Files of visitors are deleted in
    the end."""
    with _own_folder():
        blocks = build(service)
        gr.mount_gradio_app(app, blocks, path, **_common(blocks, []))
        try:
            yield
        finally:
            blocks.close()


def _common(blocks: gr.Blocks, hosts: Sequence[str]) -> dict[str, Any]:
    """What holds wherever the page is served."""
    return {
        "show_error": False,  # our own errors show all the same; the text of others tells of the server
        "max_file_size": LARGEST_FILE,
        "allowed_paths": [str(EXAMPLES)],
        "ssr_mode": False,
        "enable_monitoring": False,
        "footer_links": ["api"],
        "theme": THEME,
        "css": CSS,
        "app_kwargs": {"middleware": [Middleware(Door, hosts=hosts), Middleware(Bodies, Path(blocks.GRADIO_CACHE))]},
    }


def _head(service: Service) -> str:
    rate, device = service.spec.sample_rate, torch.device(service.vocoder.device).type.upper()
    return (
        "<h1>flowvocoder</h1>"
        "<p>Speech from mel spectrograms by an invertible network. It maps any recording to noise and back, and"
        " computes its exact likelihood.</p>"
        f'<p class="voice">Voice {html.escape(service.name)}, {service.parameters / 1e6:.1f} million parameters,'
        f" {rate / 1000:g} kHz, on {device}</p>"
    )


@contextmanager
def _own_folder() -> Iterator[None]:
    """A temporary folder for all that Gradio writes."""
    before = os.environ.get("GRADIO_TEMP_DIR")
    with scratch("demo") as folder:
        os.environ["GRADIO_TEMP_DIR"] = str(folder)
        try:
            yield
        finally:
            if before is None:
                del os.environ["GRADIO_TEMP_DIR"]
            else:
                os.environ["GRADIO_TEMP_DIR"] = before
