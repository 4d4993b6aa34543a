"""export."""

from pathlib import Path

from flowvocoder.cli.parsers.common import Commands, add_command


def add(commands: Commands) -> None:
    export = add_command(
        commands, "export", "a checkpoint for other programs: ONNX or torch.export", "export", "export"
    )
    export.add_argument("checkpoint", metavar="CHECKPOINT", type=Path, help="folder; `bundled` for the bundled voice")
    export.add_argument("output", metavar="OUT", type=Path, help="OUT.onnx or OUT.pt2")
    export.add_argument("--format", choices=["onnx", "pt2"], default="onnx", help="default onnx")
    export.add_argument("--step", action="store_true", help="one streaming step with its state as inputs and outputs")
