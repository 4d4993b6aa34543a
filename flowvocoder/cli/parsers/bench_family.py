"""bench family."""

from pathlib import Path

from flowvocoder.cli.parsers.common import Commands, add_command, folder, positive, positive_int

FAMILY = (
    "lapglow-small",
    "squeezewave-128-128",
    "waveglow-256:model.channels=32:model.layers=4",
    "waveflow-64:model.channels=16",
    "flowavenet:model.channels=32",
)
"""Sizes that a CPU can train in minutes."""

PUBLISHED = ("lapglow-base", "waveglow-256", "waveflow-64", "flowavenet")
"""Those that it cannot: only what they cost is measured."""

BUDGET = ("batch=4", "segment=8192", "lr=1e-3", "ema=0.99")


def add_family(benches: Commands) -> None:
    command = add_command(
        benches, "family", "presets trained on the same data for the same time, in one table", "bench_family", "family"
    )
    command.add_argument("--corpus", metavar="DIR", type=Path, action="append", required=True,
                         help="folder of audio, or in LJSpeech layout; may be given several times")  # fmt: skip
    command.add_argument("--out", metavar="DIR", type=folder, required=True,
                         help="for checkpoints, table.md and results.json; what is trained there is kept")  # fmt: skip
    command.add_argument("--presets", metavar="PRESET", nargs="+", default=list(FAMILY),
                         help=f"PRESET or PRESET:key=value:... (default {' '.join(FAMILY)})")  # fmt: skip
    command.add_argument("--untrained", metavar="PRESET", nargs="*", default=list(PUBLISHED),
                         help=f"only size and speed of these (default {' '.join(PUBLISHED)})")  # fmt: skip
    command.add_argument("--minutes", type=positive, default=5.0, help="processor time of each training (default 5)")
    command.add_argument("--set", metavar="KEY=VALUE", action="append", default=list(BUDGET), dest="settings",
                         help=f"for all presets, beside {' '.join(BUDGET)}")  # fmt: skip
    command.add_argument("--limit", type=positive_int, default=6, help="held-out utterances of each corpus (default 6)")
    command.add_argument("--temperature", type=float, default=0.7, help="of the noise (default 0.7)")
    command.add_argument("--threads", type=int, help="CPU threads (default: PyTorch's choice)")
    command.set_defaults(device="cpu")
