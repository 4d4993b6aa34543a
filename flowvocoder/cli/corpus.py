"""`corpus`: public corpora and your own recordings. The same as `python -m recipes`, and the same code."""

import argparse

from flowvocoder.cli.command import Command


def options(parser: argparse.ArgumentParser) -> None:
    from recipes.cli import add_actions

    add_actions(parser)


def run(arguments: argparse.Namespace) -> int:
    from recipes.cli import run as run_action

    return run_action(arguments)


COMMAND = Command("corpus", "list, download and prepare corpora, public ones or your own recordings", options, run)
