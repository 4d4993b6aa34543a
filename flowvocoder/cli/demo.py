"""`demo`: the web page."""

import argparse
import os

from flowvocoder.cli.common import set_machine
from flowvocoder.errors import ConfigError
from flowvocoder.extras import library


def demo(arguments: argparse.Namespace) -> int:
    """Load the checkpoints and serve the page until stopped."""
    if not 1 <= arguments.port <= 65535:
        raise ConfigError(f"--port must be from 1 to 65535, not {arguments.port}")
    device = set_machine(arguments)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before the import: gradio would tell its makers of it
    library("gradio", "demo")
    from flowvocoder.demo.app import serve
    from flowvocoder.demo.memory import give_back_freed_memory
    from flowvocoder.demo.service import Service

    give_back_freed_memory()
    serve(Service(arguments.checkpoint, device), arguments.host, arguments.port, arguments.share)
    return 0
