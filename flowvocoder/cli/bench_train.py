"""`bench train`."""

import argparse
import sys

from flowvocoder.cli.command import FAILED, Command
from flowvocoder.cli.common import set_machine
from flowvocoder.cli.options import add_machine, add_settings, folder, positive_int
from flowvocoder.errors import ConfigError
from flowvocoder.presets import DEFAULT_PRESET, PRESETS, preset

OWN = ("batch", "precision")
"""Settings that are columns of the table."""


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--preset", nargs="+", default=[DEFAULT_PRESET],
                        help=f"names of presets, or all (default {DEFAULT_PRESET})")  # fmt: skip
    parser.add_argument("--batch", nargs="+", type=positive_int, default=[8],
                        help="segments a step, over all processes (default 8)")  # fmt: skip
    parser.add_argument("--precision", nargs="+", default=["auto"],
                        help="auto (default), float32, bfloat16 or float16")  # fmt: skip
    parser.add_argument("--processes", nargs="+", type=positive_int, default=[1],
                        help="processes that share the batch (default 1); `1 2` also gives the scaling"
                        " efficiency")  # fmt: skip
    add_settings(parser, "override a setting of every preset: segment=8192, model.channels=96")
    parser.add_argument("--steps", type=positive_int, default=8, help="steps to time (default 8)")
    parser.add_argument("--warmup", type=positive_int, default=2, help="steps before them (default 2)")
    parser.add_argument("--out", metavar="DIR", type=folder, help="also write results.json and table.md there")
    add_machine(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure every combination, print the table; 2 if one of them could not run."""
    from flowvocoder.evaluation.report import machine, write_report
    from flowvocoder.evaluation.speed.tables import training_markdown, training_values
    from flowvocoder.evaluation.speed.training import Effort, grid, measure_all
    from flowvocoder.files import check_folder
    from flowvocoder.progress import progress

    device = set_machine(arguments)
    if arguments.out is not None:
        check_folder(arguments.out)
    for name in arguments.preset:
        if name != "all":
            preset(name)
    presets = list(PRESETS) if "all" in arguments.preset else arguments.preset
    for setting in arguments.settings:
        key = setting.partition("=")[0].rpartition(".")[2]
        if key in OWN:
            raise ConfigError(f"--set {setting}: the table is by {key}: give --{key}")
    settings = grid(presets, arguments.batch, arguments.precision, arguments.processes)
    effort = Effort(arguments.warmup, arguments.steps, str(device), arguments.threads, arguments.settings)
    for setting in settings:
        setting.experiment(effort.settings)  # all of them before the first is measured
    measured = progress(measure_all(settings, effort), "bench train", "setting", len(settings))
    results = list(measured)
    measured_on = machine(str(device), arguments.threads)
    table = training_markdown(results, measured_on)
    print(table, end="")
    if arguments.out is not None:
        print(write_report(arguments.out, training_values(results, measured_on), table), file=sys.stderr)
    failed = [(setting, result) for setting, result in results if isinstance(result, str)]
    for setting, result in failed:
        print(f"flowvocoder: {setting.preset}, batch {setting.batch}, {setting.precision}: {result}", file=sys.stderr)
    return FAILED if failed else 0


COMMAND = Command("bench train", "training speed by preset, batch, precision and processes", options, run)
