"""demo."""

from pathlib import Path

from flowvocoder.cli.parsers.common import Commands, add_command, machine


def add(commands: Commands) -> None:
    demo = add_command(commands, "demo", "a web page to hear, see and play with it", "demo", "demo")
    demo.add_argument("--checkpoint", metavar="DIR", type=Path, action="append",
                      help="default: the bundled voice; give several to compare them")  # fmt: skip
    demo.add_argument("--host", default="127.0.0.1", help="address to serve (default 127.0.0.1: this machine only)")
    demo.add_argument("--port", type=int, default=7860, help="default 7860")
    demo.add_argument("--share", action="store_true",
                      help="a public address through Gradio's servers (default: this machine only)")  # fmt: skip
    machine(demo)
