"""`demo`: the web page."""

import argparse
import importlib.util

from flowvocoder.cli.common import set_machine
from flowvocoder.errors import ConfigError


def demo(arguments: argparse.Namespace) -> int:
    """Load the checkpoints and serve the page until stopped."""
    if importlib.util.find_spec("gradio") is None:
        raise ConfigError("the demo needs gradio: pip install 'flowvocoder[demo]'")
    if not 1 <= arguments.port <= 65535:
        raise ConfigError(f"--port must be from 1 to 65535, not {arguments.port}")
    device = set_machine(arguments)
    from flowvocoder.demo.app import serve
    from flowvocoder.demo.service import Service

    serve(Service(arguments.checkpoint, device), arguments.host, arguments.port, arguments.share)
    return 0
