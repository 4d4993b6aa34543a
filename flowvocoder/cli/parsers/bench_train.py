"""bench train."""

from flowvocoder.cli.parsers.common import Commands, add_command, folder, machine, positive_int
from flowvocoder.presets import DEFAULT_PRESET, PRESETS


def add_train(bench: Commands) -> None:
    train = add_command(
        bench, "train", "training speed by preset, batch, precision and processes", "bench_train", "train"
    )
    train.add_argument("--preset", nargs="+", default=[DEFAULT_PRESET],
                       help=f"{', '.join(PRESETS)}, or all (default {DEFAULT_PRESET})")  # fmt: skip
    train.add_argument("--batch", nargs="+", type=positive_int, default=[8],
                       help="segments a step, over all processes (default 8)")  # fmt: skip
    train.add_argument("--precision", nargs="+", default=["auto"],
                       help="auto (default), float32, bfloat16, float16")  # fmt: skip
    train.add_argument("--processes", nargs="+", type=positive_int, default=[1],
                       help="that share the batch (default 1); `1 2` also gives the scaling efficiency")  # fmt: skip
    train.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], dest="settings",
                       help="override a setting of every preset: segment=8192, recompute=true")  # fmt: skip
    train.add_argument("--steps", type=positive_int, default=8, help="steps to time (default 8)")
    train.add_argument("--warmup", type=positive_int, default=2, help="steps before them (default 2)")
    train.add_argument("--out", metavar="DIR", type=folder, help="also write results.json and table.md")
    machine(train)
