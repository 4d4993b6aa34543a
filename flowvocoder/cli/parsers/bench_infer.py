"""bench infer."""

from pathlib import Path

from flowvocoder.cli.parsers.common import Commands, add_command, folder, machine, matching


def add_infer(benches: Commands) -> None:
    infer = add_command(
        benches, "infer", "synthesis: by model, engine, length and batch, and beside others", "bench_infer", "infer"
    )
    infer.add_argument("--checkpoint", metavar="DIR", type=Path, action="append", default=[],
                       help="a voice; several times for several (default: the bundled one)")  # fmt: skip
    infer.add_argument("--preset", action="append", default=[], help="a preset with random weights; several times")
    infer.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], dest="settings",
                       help="changes the presets: model.block=256")  # fmt: skip
    infer.add_argument("--engines", default="eager,numba",
                       help="reference, eager, numba, compile, onnx (default eager,numba)")  # fmt: skip
    infer.add_argument("--precision", default="float32",
                       help="of most networks: float32, bfloat16, float16 (default float32)")  # fmt: skip
    infer.add_argument("--peers", default="", help="vocos, hifigan, griffin-lim: pip install 'flowvocoder[bench]'")
    infer.add_argument("--seconds", default="10", help="lengths (default 10)")
    infer.add_argument("--batch", default="1", help="batch sizes (default 1)")
    infer.add_argument("--rounds", type=int, default=5, help="times everything is measured (default 5)")
    infer.add_argument("--chunk", type=int, default=8, metavar="FRAMES", help="of streaming, 0 for none (default 8)")
    infer.add_argument("--out", metavar="DIR", type=folder, help="also bench.json, bench.md and bench.png there")
    matching(infer)
    machine(infer)
