"""`evaluate`: a table, and with --out everything it was made from."""

import argparse
import sys
from pathlib import Path

from flowvocoder.cli.common import check_match, check_temperature, named_checkpoint, set_machine
from flowvocoder.errors import ConfigError
from flowvocoder.evaluation.chart import save_chart
from flowvocoder.evaluation.checkpoint import Settings, evaluate_checkpoint
from flowvocoder.evaluation.report import markdown
from flowvocoder.evaluation.results import write_json
from flowvocoder.files import check_folder, writing
from flowvocoder.parallel import check_jobs


def evaluate(arguments: argparse.Namespace) -> int:
    """Measure, print the table, write the files; 2 if an utterance could not be measured."""
    device = set_machine(arguments)
    if arguments.threads not in (None, 1):
        raise ConfigError(f"--threads {arguments.threads}: every process measures on one thread; --jobs says how many")
    check_temperature(arguments.temperature)
    check_match(arguments.match, arguments.low_match)
    out = arguments.out
    if arguments.keep_audio and out is None:
        raise ConfigError("--keep-audio needs --out")
    if out is not None:
        check_folder(out)
    settings = Settings(
        against=[str(named_checkpoint(Path(what))) for what in arguments.against],
        everything=arguments.everything,
        limit=arguments.limit,
        temperature=arguments.temperature,
        match=arguments.match,
        low_match=arguments.low_match,
        seed=arguments.seed,
        draws=arguments.draws,
        lag=arguments.lag,
        jobs=check_jobs(arguments.jobs or (0 if device.type == "cpu" else 1)),  # a GPU is timed alone
        device=str(device),
        keep_audio=arguments.keep_audio,
    )
    checkpoint = arguments.checkpoint and named_checkpoint(arguments.checkpoint)
    evaluation = evaluate_checkpoint(checkpoint, arguments.corpus, settings, out)
    table = markdown(evaluation)
    print(table, end="")
    if out is not None:
        write_json(out / "results.json", evaluation.to_dict())
        with writing(out / "table.md") as temporary:
            temporary.write_text(table, encoding="utf-8")
        save_chart(out / "chart.png", evaluation)
        print(f"{out}: results.json, table.md, chart.png", file=sys.stderr)
    for failure in evaluation.failures:
        print(f"flowvocoder: {failure}", file=sys.stderr)
    return 2 if evaluation.failures else 0
