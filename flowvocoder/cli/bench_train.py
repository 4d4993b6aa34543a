"""`bench train`."""

import argparse
import sys

from flowvocoder.cli.common import set_machine
from flowvocoder.cli.parsers.common import FAILED
from flowvocoder.errors import ConfigError
from flowvocoder.evaluation.speed.report import describe, markdown, to_json
from flowvocoder.evaluation.speed.training import Effort, grid, measure_all
from flowvocoder.files import check_folder, writing
from flowvocoder.presets import PRESETS, preset
from flowvocoder.progress import progress

OWN = ("batch", "precision")
"""Settings that are columns of the table."""


def train(arguments: argparse.Namespace) -> int:
    """Measure every combination, print the table; 2 if one of them could not run."""
    device = set_machine(arguments)
    if arguments.out is not None:
        check_folder(arguments.out)
    for name in arguments.preset:
        if name != "all":
            preset(name)
    presets = list(PRESETS) if "all" in arguments.preset else arguments.preset
    for setting in arguments.settings:
        key = setting.partition("=")[0].removeprefix("train.")
        if key in OWN:
            raise ConfigError(f"--set {setting}: the table is by {key}: give --{key}")
    settings = grid(presets, arguments.batch, arguments.precision, arguments.processes)
    effort = Effort(arguments.warmup, arguments.steps, str(device), arguments.threads, arguments.settings)
    for setting in settings:
        setting.experiment(effort.settings)  # all of them before the first is measured
    measured = progress(measure_all(settings, effort), "bench train", "setting", len(settings))
    results = list(measured)
    machine = describe(str(device), arguments.threads)
    table = markdown(results, machine)
    print(table, end="")
    if arguments.out is not None:
        for name, text in (("results.json", to_json(results, machine)), ("table.md", table)):
            with writing(arguments.out / name) as temporary:
                temporary.write_text(text, encoding="utf-8")
        print(f"{arguments.out}: results.json, table.md", file=sys.stderr)
    failed = [(setting, result) for setting, result in results if isinstance(result, str)]
    for setting, result in failed:
        print(f"flowvocoder: {setting.preset}, batch {setting.batch}, {setting.precision}: {result}", file=sys.stderr)
    return FAILED if failed else 0
