"""`compare`."""

import argparse
import sys

from flowvocoder.checkpoint import build_model
from flowvocoder.cli.common import set_machine
from flowvocoder.comparison import Budget, cost, held_out, markdown, measure, train_within, write_results
from flowvocoder.errors import ConfigError
from flowvocoder.vocoder import Vocoder


def compare(arguments: argparse.Namespace) -> int:
    """Train what is not trained yet, measure all, print the table."""
    set_machine(arguments)
    if not 0.0 < arguments.minutes <= 1e5:
        raise ConfigError(f"--minutes must be above 0, not {arguments.minutes}")
    if arguments.limit < 1:
        raise ConfigError(f"--limit must be 1 or more, not {arguments.limit}")
    if not 0.0 <= arguments.temperature < 10.0:
        raise ConfigError(f"--temperature must be from 0 to 10, not {arguments.temperature}")
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
    return 0
