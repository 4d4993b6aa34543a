"""`bench family`."""

import argparse
import sys

from flowvocoder.checkpoint import build_model
from flowvocoder.cli.common import check_temperature, set_machine
from flowvocoder.evaluation.speed.family import Budget, cost, held_out, markdown, measure, train_within, write_results
from flowvocoder.vocoder import Vocoder


def family(arguments: argparse.Namespace) -> int:
    """Train what is not trained yet, measure all, print the table."""
    set_machine(arguments)
    check_temperature(arguments.temperature)
    budget = Budget(arguments.minutes, tuple(arguments.settings))
    for name in (*arguments.presets, *arguments.untrained):
        budget.experiment(name)  # fail before the work
    utterances = held_out(arguments.corpus, arguments.limit)
    rows = {}
    for name in arguments.presets:
        checkpoint = train_within(name, budget, arguments.corpus, arguments.out)
        rows[name] = measure(checkpoint, utterances, arguments.temperature)
        write_results(arguments.out, rows)
        print(f"{name}: {rows[name]['nats']:.3f} nats/sample after {rows[name]['steps']} steps", file=sys.stderr)
    for name in arguments.untrained:
        rows[name] = cost(Vocoder(build_model(budget.experiment(name))))
        write_results(arguments.out, rows)
    print(markdown(rows), end="")
    print(f"{arguments.out}: table.md, results.json", file=sys.stderr)
    return 0
