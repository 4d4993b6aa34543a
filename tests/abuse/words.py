"""Families of inputs: what a person types."""

import os
import random
from pathlib import Path

from flowvocoder.config import PostfilterConfig
from flowvocoder.presets import PRESETS, preset
from flowvocoder.settings import leaves
from tests.abuse import seeds
from tests.abuse.case import Case, family
from tests.abuse.damage import WORDS

VALID: list[tuple[str, ...]] = [
    ("synth", "seeds/mels/a.npy", "out/y.wav", "--checkpoint", "seeds/voice"),
    ("resynth", "seeds/z.wav", "out/y.wav", "--checkpoint", "seeds/voice"),
    ("score", "seeds/z.wav", "--checkpoint", "seeds/voice"),
    ("encode", "seeds/z.wav", "out/y.npz", "--checkpoint", "seeds/voice"),
    ("decode", "seeds/z.npz", "out/y.wav", "--checkpoint", "seeds/voice"),
    ("mel", "seeds/z.wav", "out/y.npy", "--convention", "hifigan"),
    ("info", "seeds/voice"),
    ("voices", "--json"),
    ("synth", "--stream", "--checkpoint", "seeds/voice"),
    ("audit", "seeds/toy/manifest.jsonl", "--jobs", "1"),
    ("anomaly", "score", "seeds/z.wav"),
    ("prove", "seeds/z.wav", "--as-it-stands", "--checkpoint", "seeds/voice"),
    ("edit", "seeds/z.wav", "out/y.wav", "--speed", "1.5", "--checkpoint", "seeds/voice"),
    ("say", "good morning", "out/y.wav", "--checkpoint", "seeds/voice"),
]

OPTIONS = [
    "--seed", "--temperature", "--gl-iters", "--low-band-iters", "--threads", "--device", "--denoise", "--denoise-mode",
    "--precision", "--engine", "--checkpoint", "--chunk", "--convention", "--segment", "--rate", "--jobs", "--plot",
    "--fix", "--mel-from", "--mel", "--redo", "--speed", "--pitch", "--formants", "--best-of", "--draws",
    "--false-alarms", "--detector", "--json", "--force", "--trust-mel",
    "--match",
]  # fmt: skip


@family(2)
def options(rng: random.Random, number: int, box: Path) -> Case:
    """A valid command with an option, or an argument, that nobody expects."""
    arguments = list(rng.choice(VALID))
    if rng.random() < 0.8:
        option, given = rng.choice(OPTIONS), word(rng)
        if option == "--threads" and given == "1_000":
            given = "2"  # OpenMP ends the process where it gets no more threads, and here is no room for a thousand
        elif option == "--plot":
            given = f"out/{given.replace('/', '_').replace('.', '_')}"  # a folder that is made is no fault
        arguments += [option, given]
    else:
        inputs = [index for index, argument in enumerate(arguments) if not argument.startswith(("out/", "--"))]
        given = word(rng)
        arguments[rng.choice(inputs)] = "seeds" if given == "/" else given  # not all recordings of the machine
    return Case(tuple(arguments), stdin=bytes(320), codes=(0, 1, 2))


@family(1)
def settings(rng: random.Random, number: int, box: Path) -> Case:
    """`train --set` with odd keys and values; the corpus is missing, so no step is taken."""
    experiment = preset(rng.choice(list(PRESETS)))
    keys = [leaf.path for leaf in leaves(experiment)] + [leaf.path for leaf in leaves(PostfilterConfig(), "postfilter")]
    given = []
    for _ in range(rng.choice([1, 1, 2, 3])):
        key = rng.choice(keys) if rng.random() < 0.9 else word(rng)
        key = ".".join(key.split(".")[rng.randrange(key.count(".") + 1) :])
        given += ["--set", f"{key}={word(rng)}" if rng.random() < 0.97 else key]
    name = rng.choice([*PRESETS, *WORDS]) if rng.random() < 0.2 else rng.choice(list(PRESETS))
    return Case(("train", "--corpus", "in/nothing", "--out", "out/run", "--preset", name, *given))


@family(0.2)
def steps(rng: random.Random, number: int, box: Path) -> Case:
    """A step of training with an odd setting of the mel, of optimisation or of the losses."""
    keys = [
        leaf.path
        for leaf in leaves(preset("lapglow-tiny"))
        if leaf.path.startswith(("mel.", "train.losses.", "train.optim"))
    ]
    small = [
        "0",
        "1",
        "2",
        "3",
        "80",
        "512",
        "1000",
        "1024",
        "1e-300",
        "1e-45",
        "0.5",
        "1.5",
        "1e-9",
        "ln",
        "same",
        "none",
        "htk",
    ]
    words = [w for _ in range(rng.choice([1, 1, 2])) for w in ("--set", f"{rng.choice(keys)}={rng.choice(small)}")]
    arguments = ("train", "--corpus", "seeds/toy", "--out", "out/run", "--preset", "lapglow-tiny", *seeds.TRAIN, *words)
    return Case((*arguments, "--max-steps", "1"), keeps=True)


@family(0.7)
def names(rng: random.Random, number: int, box: Path) -> Case:
    """Files with names that a terminal would obey, that are no text, or too long."""
    odd = rng.choice(
        [
            "\x1b[31mred\x1b[0m",
            "a\nb",
            "a\rb",
            "\x07\x08",
            "\u202eabc",
            "\udcff\udcfe",
            "x" * 200,
            "%s {x}",
            "-x",
            "é",
            " ",
        ]
    )
    name = "in/" + odd + rng.choice([".wav", ".npy", ".pt", ".jsonl", "", ".npz"])
    if rng.random() < 0.7:
        content = rng.choice([b"", b"text", seeds.recordings()["a.wav"], seeds.mels()["a.npy"], seeds.latent()])
        (box / os.fsencode(name).decode(errors="surrogateescape")).write_bytes(content)
    commands = [
        ("resynth", name, "out/y.wav"), ("mel", name, "out/y.npy"), ("synth", name, "out/y.wav"), ("score", name),
        ("decode", name, "out/y.wav"), ("encode", name, "out/y.npz"), ("info", name), ("audit", name, "--jobs", "1"),
        ("import-checkpoint", name, "out/voice"), ("prepare", name, "out/s", "--jobs", "1"),
        ("mel", "seeds/z.wav", f"out/{name[3:]}"),
    ]  # fmt: skip
    arguments = rng.choice(commands)
    voice = () if arguments[0] in ("info", "import-checkpoint", "audit", "prepare") else ("--checkpoint", "seeds/voice")
    return Case((*arguments, *voice), codes=(0, 1, 2), keeps=arguments[0] == "prepare")


NAMES = ["\x1b[31mred\x1b[0m", "a\nb", "a\rb", "\x07\x08", "\u202eabc", "\udcff\udcfe", "x" * 200, "%s {x}", "é", " "]


def word(rng: random.Random) -> str:
    return rng.choice(WORDS)
