"""bench: a group of commands."""

from typing import Any, NoReturn

from flowvocoder.cli.parsers import bench_infer, bench_train
from flowvocoder.cli.parsers.common import Commands, Parser


def add(commands: Commands) -> None:
    bench = commands.add_parser("bench", help="measure speed", description="measure speed")
    benches = bench.add_subparsers(dest="bench", required=True, metavar="WHAT")
    bench_infer.add_infer(benches)
    bench_train.add_train(benches)
    benches._name_parser_map["family"] = _Moved(prog="flowvocoder bench family")


class _Moved(Parser):
    """What was a command in 0.1; --help does not list it."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> NoReturn:
        self.exit(2, f"{self.prog}: is a script now: python docs/scripts/family.py\n")
