"""`demo`: the web page."""

import argparse

from flowvocoder.cli.command import Command
from flowvocoder.cli.common import set_machine
from flowvocoder.cli.options import add_machine
from flowvocoder.errors import ConfigError
from flowvocoder.voice_card import checkpoint_folder


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", metavar="DIR", type=checkpoint_folder, action="append",
                        help="checkpoint folder or one of `voices` (default: the bundled one); repeat to compare"
                        " several")  # fmt: skip
    parser.add_argument("--host", default="127.0.0.1", help="address to serve (default 127.0.0.1: this machine only)")
    parser.add_argument("--port", type=int, default=7860, help="port to serve (default 7860)")
    parser.add_argument("--allow-host", metavar="NAME", action="append", default=[],
                        help="further host name to answer to, such as a proxy's; matters while only this machine"
                             " is served")  # fmt: skip
    parser.add_argument("--share", action="store_true",
                        help="a public address through Gradio's servers (default: this machine only)")  # fmt: skip
    add_machine(parser)


def run(arguments: argparse.Namespace) -> int:
    """Load the checkpoints and serve the page until stopped."""
    if not 1 <= arguments.port <= 65535:
        raise ConfigError(f"--port must be from 1 to 65535, not {arguments.port}")
    device = set_machine(arguments)
    from flowvocoder.demo.gradio_import import need_gradio

    need_gradio()
    from flowvocoder.demo.app import serve
    from flowvocoder.demo.service import Service
    from flowvocoder.web.memory import give_back_freed_memory

    give_back_freed_memory()
    service = Service.load(arguments.checkpoint, device)
    serve(service, arguments.host, arguments.port, arguments.share, arguments.allow_host)
    return 0


COMMAND = Command("demo", "serve a web page to try the vocoder", options, run)
