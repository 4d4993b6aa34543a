"""bench: a group of commands."""

from flowvocoder.cli.parsers import bench_family, bench_infer, bench_train
from flowvocoder.cli.parsers.common import Commands


def add(commands: Commands) -> None:
    bench = commands.add_parser("bench", help="measure speed", description="measure speed")
    benches = bench.add_subparsers(dest="bench", required=True, metavar="WHAT")
    bench_infer.add_infer(benches)
    bench_train.add_train(benches)
    bench_family.add_family(benches)
