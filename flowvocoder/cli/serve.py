"""`serve`: the vocoder behind HTTP and websockets."""

import argparse
import dataclasses
import os
from importlib.util import find_spec
from pathlib import Path

from flowvocoder.cli.command import Command
from flowvocoder.cli.common import load_vocoder
from flowvocoder.cli.options import add_checkpoint, add_engine, positive, positive_int
from flowvocoder.errors import ConfigError
from flowvocoder.files import reading
from flowvocoder.voice_card import BUNDLED_VOICE

KEY = "FLOWVOCODER_API_KEY"


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to serve (default 127.0.0.1: this machine only)")
    parser.add_argument("--port", type=int, default=8000, help="port to serve (default 8000; 0: any free one)")
    parser.add_argument("--allow-host", metavar="NAME", action="append", default=[],
                        help="further host name to answer to, such as a proxy's; matters while only this machine"
                             " is served")  # fmt: skip
    parser.add_argument("--api-key-file", metavar="FILE", type=Path,
                        help=f"file with the key that clients show (default: the variable {KEY})")  # fmt: skip
    parser.add_argument("--workers", type=positive_int,
                        help="syntheses at a time (default: one for each CPU core; 1 on a GPU)")  # fmt: skip
    parser.add_argument("--batch", type=positive_int,
                        help="requests that are synthesised together at most (default 1 on a CPU, where only mels up"
                             " to a second are; 8 on a GPU)")  # fmt: skip
    parser.add_argument("--longest", type=positive, metavar="S", help="seconds of audio in one request (default 60)")
    parser.add_argument("--waiting", type=positive_int, metavar="N", help="requests that may wait (default 64)")
    parser.add_argument("--waiting-of-one", type=positive_int, metavar="N", help="the same of one address (default 16)")
    parser.add_argument("--streams", type=int, metavar="N", help="streams at a time (default 32)")
    parser.add_argument("--rate", type=int, metavar="N",
                        help="requests of one address in a minute (default 0: any number)")  # fmt: skip
    parser.add_argument("--timeout", type=positive, metavar="S",
                        help="seconds until a request is given up (default 120)")  # fmt: skip
    parser.add_argument("--grace", type=float, metavar="S",
                        help="seconds to finish what was accepted, once told to stop (default 120)")  # fmt: skip
    parser.add_argument("--tts", metavar="MODEL",
                        help="acoustic model of /v1/audio/speech: hibari (default, where it is installed), the JSON"
                        " description of an ONNX file, or a Python file, which is run")  # fmt: skip
    parser.add_argument("--wyoming", type=int, metavar="PORT", nargs="?", const=10200,
                        help="also text to speech by the Wyoming protocol, for Home Assistant (default port 10200); not"
                        " with a key")  # fmt: skip
    parser.add_argument("--demo", action="store_true", help="also the demo's page, at /demo; not with a key")
    add_checkpoint(parser, files=False)
    add_engine(parser)


def run(arguments: argparse.Namespace) -> int:
    """Load the checkpoint and serve until stopped."""
    from flowvocoder.extras import library

    for name in ("fastapi", "uvicorn", "websockets", "prometheus_client"):
        library(name, "serve")
    from flowvocoder.parallel import usable_cores
    from flowvocoder.server.app import serve
    from flowvocoder.server.limits import Limits
    from flowvocoder.text.acoustic import HIBARI, acoustic
    from flowvocoder.web.memory import give_back_freed_memory

    if not 0 <= arguments.port <= 65535:
        raise ConfigError(f"--port must be from 0 to 65535, not {arguments.port}")
    names = [field.name for field in dataclasses.fields(Limits)]
    given = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    on_cpu = arguments.device == "cpu"
    own = {"workers": usable_cores() if on_cpu else 1, "batch": 1 if on_cpu else 8}
    limits, key = Limits(**{**own, **given}), _key(arguments.api_key_file)
    for name, wanted in (("demo", arguments.demo), ("wyoming", arguments.wyoming is not None)):  # port 0 is one, too
        if key is not None and wanted:
            raise ConfigError(f"--{name} needs a server without a key: it cannot show one")
    if arguments.wyoming is not None:
        if not 0 <= arguments.wyoming <= 65535:
            raise ConfigError(f"--wyoming must be from 0 to 65535, not {arguments.wyoming}")
        library("wyoming", "serve")
    if arguments.demo:
        from flowvocoder.demo.gradio_import import need_gradio

        need_gradio()
    give_back_freed_memory()
    vocoder = load_vocoder(arguments)
    vocoder.prepare()
    tts = acoustic(arguments.tts, vocoder) if arguments.tts or find_spec(HIBARI) else None
    demo = (vocoder.card.name or (arguments.checkpoint or BUNDLED_VOICE).name) if arguments.demo else None
    serve(vocoder, limits, arguments.host, arguments.port, arguments.allow_host, key, tts, demo, arguments.wyoming)
    return 0


def _key(file: Path | None) -> str | None:
    """The key, which a command line would show to everybody on the machine.

    Raises:
        ConfigError: it is empty, or has characters of which clients send different bytes in a header.
    """
    if file is None:
        key = os.environ.get(KEY, "")
        if not key:
            return None
    else:
        with reading(file, ConfigError, "not a text file"):
            key = file.read_text(encoding="utf-8")
    key = key.strip()
    if not key:
        raise ConfigError(f"{file or KEY}: holds no key")
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(f"{file or KEY}: a key is one line of ASCII characters, which every client can send")
    return key


COMMAND = Command("serve", "serve the vocoder over HTTP and websockets", options, run)
