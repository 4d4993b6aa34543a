"""Quality against speed, by voice and iterations: python docs/scripts/curve.py CORPUS... [--limit 3] [--draws 2]

Held-out clips of each corpus are synthesised on one thread and measured as `flowvocoder evaluate` does. Speed is
seconds of audio over seconds of processor time, so that other programs matter less. Prints a table and draws
docs/assets/curve.webp.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from tables import table
from torch import Tensor

from flowvocoder import Vocoder
from flowvocoder.evaluation import evaluate_pair
from flowvocoder.evaluation.checkpoint import Settings, choose
from flowvocoder.evaluation.griffin_lim import griffin_lim

OUT = Path(__file__).parents[1] / "assets" / "curve.webp"
VOICES, ENGINE = ("pocket-22k", "universal-22k"), "numba"
ITERATIONS = ((0, 0), (4, 0), (4, 24), (4, 40), (4, 48), (4, 56), (4, 128))
"""Over all bands, and below 2 kHz."""

NAMED = ("0 + 0", "4 + 0", "4 + 24", "4 + 128", "60")
"""Iterations that the plot names, beside those of `SHIPPED`."""

SHIPPED = {"pocket-22k": "4 + 48", "universal-22k": "4 + 56"}

Row = tuple[str, str, float, float, float]
"""System, iterations, × real time, PESQ, quality."""

Clip = tuple[np.ndarray, Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", metavar="CORPUS", nargs="+", type=Path)
    parser.add_argument("--limit", type=int, default=3, help="clips of a corpus (default 3)")
    parser.add_argument("--draws", type=int, default=2, help="seeds (default 2)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    chosen = choose(given.corpora, Settings(limit=given.limit))
    head = ("system", "iterations", "× real time", "PESQ-WB", "quality")
    print(table(head, []), flush=True)
    rows: list[Row] = []
    for name in VOICES:
        vocoder = Vocoder.from_pretrained(name, engine=ENGINE)
        clips = [clip(utterance.read(vocoder.sample_rate), vocoder) for utterance in chosen]
        vocoder.synthesize(clips[0][1], seed=0)  # compiles
        for gl, low in ITERATIONS:

            def system(mel: Tensor, seed: int, gl: int = gl, low: int = low, vocoder: Vocoder = vocoder) -> Tensor:
                return vocoder.synthesize(mel, seed=seed, gl_iters=gl, low_band_iters=low)[0]

            add(rows, (name, f"{gl} + {low}"), system, clips, vocoder.sample_rate, given.draws)
    spec = vocoder.spec
    add(rows, ("Griffin-Lim", "60"), lambda mel, seed: griffin_lim(mel[0], spec, seed=seed), clips, spec.sample_rate, 1)
    draw(rows)


def clip(samples: np.ndarray, vocoder: Vocoder) -> Clip:
    return samples, vocoder.mel_for(torch.from_numpy(samples))


def add(rows: list[Row], names: tuple[str, str], system: Callable[[Tensor, int], Tensor], clips: list[Clip],
        rate: int, draws: int) -> None:  # fmt: skip
    """Measure a system, and print its row."""
    seconds = cpu = 0.0
    values = []
    for recording, mel in clips:
        for seed in range(draws):
            began = time.process_time()
            copy = system(mel, seed).numpy()
            cpu, seconds = cpu + time.process_time() - began, seconds + len(copy) / rate
            values.append(evaluate_pair(recording, copy[: len(recording)], rate))
    pesq, quality = (float(np.nanmean([v[name] for v in values])) for name in ("pesq", "quality"))
    rows.append((*names, seconds / cpu, pesq, quality))
    line = (*names, f"{seconds / cpu:.1f}", f"{pesq:.2f}", f"{quality:.3f}")
    print(table(line, []).splitlines()[0], flush=True)


def draw(rows: list[Row]) -> None:
    figure = Figure(figsize=(8, 3.6), layout="constrained", dpi=110)
    for axes, index, label in zip(figure.subplots(1, 2), (3, 4), ("PESQ-WB", "quality"), strict=True):
        for place, name in zip(((6, 5), (-6, -11), (6, 5)), dict.fromkeys(row[0] for row in rows), strict=True):
            side = "left" if place[0] > 0 else "right"
            own = [row for row in rows if row[0] == name]
            (line,) = axes.plot([row[2] for row in own], [row[index] for row in own], "o-", label=name, ms=4)
            for row in own:
                if row[1] in (*NAMED, SHIPPED.get(name)):
                    axes.annotate(row[1], (row[2], row[index]), place, textcoords="offset points", fontsize=7, ha=side)
                if row[1] == SHIPPED.get(name):
                    axes.plot(row[2], row[index], "o", ms=9, mfc="none", color=line.get_color())
        axes.set(xlabel="× real time, one thread", ylabel=label, xscale="log")
        axes.set_xticks([10, 20, 40, 80, 160], ["10", "20", "40", "80", "160"])
        axes.set_xticks([], minor=True)
        axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8)
    figure.savefig(OUT, pil_kwargs={"quality": 85})


if __name__ == "__main__":
    main()
