"""One stream without end: `python -m tests.soak.stream SECONDS PACE OUT`.

Each line of OUT is the hash of a block of audio. PACE is how many seconds of audio are made in one second, 0 for as
many as possible. Frames come in chunks of all sizes.
"""

import hashlib
import sys
import time
from pathlib import Path

import numpy as np
import soundfile as sf
import torch

from flowvocoder.demo.parts import EXAMPLE_NAMES
from flowvocoder.vocoder import Vocoder

BLOCK = 10  # seconds
LARGEST = 40  # frames a chunk


def run(seconds: float, pace: float, out: Path) -> None:
    torch.set_num_threads(1)
    vocoder = Vocoder.from_pretrained()
    audio, _ = sf.read(next(iter(EXAMPLE_NAMES.values())), dtype="float32")
    mel = vocoder.mel_for(torch.from_numpy(audio))[0]
    stream, sizes = vocoder.stream(seed=0), np.random.default_rng(0)
    size, pending = BLOCK * vocoder.sample_rate, torch.zeros(0)
    started, made, position = time.monotonic(), 0, 0
    with out.open("w", buffering=1) as file:
        while made < seconds * vocoder.sample_rate:
            frames = torch.arange(position, position + int(sizes.integers(1, LARGEST))) % mel.shape[1]
            position += len(frames)
            pending = torch.cat([pending, stream.push(mel[:, frames])])
            while len(pending) >= size:
                print(hashlib.sha256(pending[:size].numpy().tobytes()).hexdigest(), file=file)
                pending, made = pending[size:].clone(), made + size
            if pace:
                ahead = position * vocoder.spec.hop_length / vocoder.sample_rate / pace
                time.sleep(max(0.0, started + ahead - time.monotonic()))


if __name__ == "__main__":
    run(float(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3]))
