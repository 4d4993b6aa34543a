"""Makes the table of docs/results/family.md: presets trained on the same data for the same time.

Run it as `python docs/scripts/family.py --corpus kathleen --out family --minutes 1 --limit 4 --threads 1`.
"""

import argparse
import dataclasses
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from flowvocoder.audio.files import read_audio
from flowvocoder.checkpoint import build_model, read_config, save_checkpoint
from flowvocoder.cli.common import check_temperature
from flowvocoder.cli.options import positive, positive_int
from flowvocoder.config import Experiment, override
from flowvocoder.data.corpus import Utterance, find_utterances, split
from flowvocoder.errors import AudioError, ConfigError, FlowVocoderError
from flowvocoder.evaluation import evaluate_pair
from flowvocoder.files import writing
from flowvocoder.presets import preset
from flowvocoder.progress import progress
from flowvocoder.training.trainer import Trainer
from flowvocoder.units import ceil_div
from flowvocoder.vocoder import Vocoder
from flowvocoder.voice_card import VoiceCard

QUALITY = ("quality", "pesq", "mel_l1")
"""Which of `evaluation.measures` go into the table."""

FAMILY = (
    "lapglow-small",
    "squeezewave-128-128",
    "waveglow-256:model.channels=32:model.layers=4",
    "waveflow-64:model.channels=16",
    "flowavenet:model.channels=32",
)
"""Sizes that a CPU can train in minutes."""

PUBLISHED = ("lapglow-base", "waveglow-256", "waveflow-64", "flowavenet")
"""Those that it cannot: only what they cost is measured."""

BUDGET = ("batch=4", "segment=8192", "lr=1e-3", "ema=0.99")

WARM_UP = 0.03
"""Share of the budget in which the learning rate rises."""


@dataclasses.dataclass(frozen=True)
class Budget:
    """What every preset gets.

    Attributes:
        minutes: of this process's processor time, validation and saving not counted.
        settings: `key=value`, over the presets' own.
    """

    minutes: float
    settings: tuple[str, ...]

    def shares(self) -> Iterator[float]:
        """How much of the time is spent, from 0 on, until all is."""
        started = time.process_time()
        while (share := (time.process_time() - started) / (60.0 * self.minutes)) < 1.0:
            yield share

    def experiment(self, name: str) -> Experiment:
        """Of `PRESET` or `PRESET:key=value:...`. Raises ConfigError for what is unknown or cannot work."""
        base, *own = name.split(":")
        return override(preset(base), [*self.settings, *own])

    def rate(self, share: float) -> float:
        """The learning rate, in units of its peak, after this share of the time: up, then a cosine down to 0."""
        return min(1.0, (share + 1e-3) / WARM_UP) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, share)))


def train_within(name: str, budget: Budget, corpora: Sequence[Path], out: Path) -> Path:
    """Train a preset for its budget; the checkpoint folder, which is taken as it is if it is there already.

    Raises:
        FlowVocoderError: as `Trainer`, and ConfigError for one that was trained for another time.
    """
    checkpoint = out / name / "checkpoint"
    if checkpoint.exists():
        minutes = VoiceCard.from_dict(read_config(checkpoint)["card"]).extra.get("processor_minutes")
        if minutes != budget.minutes:
            raise ConfigError(
                f"{checkpoint}: was trained for {minutes} minutes, not {budget.minutes:g}: name another --out"
            )
        return checkpoint
    experiment = budget.experiment(name)
    trainer = Trainer(experiment, corpora, out / name / "run")
    nats = math.nan
    try:
        for share in progress(budget.shares(), f"train {name}", "step"):
            values = trainer.train_step(experiment.train.optim.lr * budget.rate(share))
            trainer.step += 1
            nats = values.get("nats", nats)
    finally:
        trainer.close()
    card = VoiceCard(step=trainer.step, extra={"processor_minutes": budget.minutes, "last_nats": nats})
    save_checkpoint(checkpoint, trainer.averaged(card))
    return checkpoint


def held_out(corpora: Sequence[Path], limit: int) -> list[Utterance]:
    """At most `limit` held-out utterances of each corpus, spread evenly over it.

    Raises:
        AudioError: none is held out.
    """
    chosen: list[Utterance] = []
    for corpus in corpora:
        kept = split(find_utterances(corpus))[1]
        chosen += kept[:: max(1, ceil_div(len(kept), limit))]
    if not chosen:
        raise AudioError(f"{', '.join(map(str, corpora))}: no held-out recording to compare on")
    return chosen


def measure(checkpoint: Path, utterances: Sequence[Utterance], temperature: float) -> dict[str, Any]:
    """One row of the table; every value a number.

    Raises:
        FlowVocoderError: checkpoint or recording unusable.
    """
    vocoder = Vocoder.from_pretrained(checkpoint)
    totals: dict[str, list[float]] = {name: [] for name in ("nats", *QUALITY)}
    for utterance in progress(utterances, f"measure {checkpoint.parent.name}", "file"):
        audio = torch.from_numpy(read_audio(utterance.path, vocoder.sample_rate).samples)
        generator = torch.Generator().manual_seed(0)
        speech = vocoder.resynthesize(audio, temperature, seed=generator)[0]
        values = evaluate_pair(audio.numpy(), speech.clamp(-1.0, 1.0).numpy(), vocoder.sample_rate)
        totals["nats"].append(float(vocoder.score(audio)))
        for name in QUALITY:
            totals[name].append(values[name])
    return {
        **cost(vocoder),
        **{name: _mean(values) for name, values in totals.items()},
        "utterances": len(utterances),
        "steps": vocoder.card.step,
        "processor_minutes": vocoder.card.extra["processor_minutes"],
    }


def cost(vocoder: Vocoder) -> dict[str, Any]:
    """The part of a row that does not depend on training: size, multiplications, speed on the threads in use."""
    mel = vocoder.mel(torch.zeros(2 * vocoder.sample_rate))
    seconds = mel.shape[-1] * vocoder.spec.hop_length / vocoder.sample_rate
    return {
        "parameters": sum(p.numel() for p in vocoder.model.parameters()),
        "macs_per_second": _multiplications(lambda: vocoder.synthesize(mel, 0.0)) / seconds,
        "times_real_time": seconds / _best_time(lambda: vocoder.synthesize(mel, 0.0)),
    }


def markdown(rows: dict[str, dict[str, Any]]) -> str:
    """The table, a preset a row."""
    lines = [
        "| preset | parameters | GMAC / audio s | x real time | steps | nats/sample | quality | PESQ | mel distance |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        numbers = [row["parameters"] / 1e6, row["macs_per_second"] / 1e9, row["times_real_time"]]
        cells = [f"{value:.1f}{unit}" if value >= 10 else f"{value:.2f}{unit}"
                 for value, unit in zip(numbers, (" M", "", ""), strict=True)]  # fmt: skip
        for key, digits in (("steps", 0), ("nats", 3), ("quality", 3), ("pesq", 2), ("mel_l1", 2)):
            cells.append(f"{row[key]:.{digits}f}" if key in row else "-")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def write_results(out: Path, rows: dict[str, dict[str, Any]]) -> None:
    """`table.md` and `results.json`. Raises OutputError."""
    for name, text in (("table.md", markdown(rows)), ("results.json", json.dumps(rows, indent=2) + "\n")):
        with writing(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def _mean(values: Sequence[float]) -> float:
    defined = [v for v in values if math.isfinite(v)]
    return sum(defined) / len(defined) if defined else math.nan


def _multiplications(run: Callable[[], object]) -> float:
    """Multiply-adds of the convolutions and matrix products in a call."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() / 2


def _best_time(run: Callable[[], object], times: int = 2) -> float:
    """Seconds of processor time of the fastest of several calls: other programs do not count."""
    best = math.inf
    for _ in range(times):
        started = time.process_time()
        run()
        best = min(best, time.process_time() - started)
    return best


def main(argv: Sequence[str] | None = None) -> int:
    """Trains what is not trained yet, measures everything and prints the table; 2 for bad input."""
    arguments = _parser().parse_args(argv)
    try:
        _run(arguments)
    except FlowVocoderError as error:
        print(f"family.py: {error}", file=sys.stderr)
        return 2
    return 0


def _run(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(arguments.threads)
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="presets trained on the same data for the same time, in one table")
    parser.add_argument("--corpus", metavar="DIR", type=Path, action="append", required=True,
                        help="folder of audio, or in LJSpeech layout; may be given several times")  # fmt: skip
    parser.add_argument("--out", metavar="DIR", type=Path, required=True,
                        help="for checkpoints, table.md and results.json; what is trained there is kept")  # fmt: skip
    parser.add_argument("--presets", metavar="PRESET", nargs="+", default=list(FAMILY),
                        help=f"PRESET or PRESET:key=value:... (default {' '.join(FAMILY)})")  # fmt: skip
    parser.add_argument("--untrained", metavar="PRESET", nargs="*", default=list(PUBLISHED),
                        help=f"only size and speed of these (default {' '.join(PUBLISHED)})")  # fmt: skip
    parser.add_argument("--minutes", type=positive, default=5.0, help="processor time of each training (default 5)")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=list(BUDGET), dest="settings",
                        help=f"for all presets, beside {' '.join(BUDGET)}")  # fmt: skip
    parser.add_argument("--limit", type=positive_int, default=6, help="held-out utterances of each corpus (default 6)")
    parser.add_argument("--temperature", type=float, default=0.7, help="of the noise (default 0.7)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
