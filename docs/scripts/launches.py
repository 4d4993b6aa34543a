"""Kernels that a GPU would launch for synthesis: python docs/scripts/launches.py [SECONDS]

Counts the operators of PyTorch that compute or copy while the bundled voice runs on the CPU; each would be a kernel on
a GPU. Reading a number back, for which the CPU waits, is counted by itself.
"""

import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import soundfile
import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from flowvocoder.flows.recursion import choice
from flowvocoder.flows.recursion.reference import Solver
from flowvocoder.vocoder import Vocoder
from flowvocoder.voice_card import VOICES

KERNEL = 3
"""Launches of the Triton kernel with what it is given: a copy of the past, contiguous taps, and itself."""


class Launches(TorchDispatchMode):
    """Counts what runs within."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        if name in ("_local_scalar_dense", "item"):
            self.found["waits"] += 1
        elif not function.is_view and name not in ("empty", "empty_like", "new_empty", "empty_strided", "_unsafe_view"):
            self.found["launches"] += 1
        return function(*args, **(kwargs or {}))


def launches(run: Callable[[], object]) -> Launches:
    """Of a call, not the first: that makes constants."""
    run()
    with Launches() as counted:
        run()
    return counted


def counted_as_one_kernel(solve: Solver) -> Solver:
    """A solver whose operators stand for `KERNEL` launches."""

    def once(*given: torch.Tensor) -> torch.Tensor:
        for _ in range(KERNEL):
            given[0].clone()
        with _disable_current_modes():
            return solve(*given)

    return once


def main(seconds: float = 10.0) -> None:
    audio, _ = soundfile.read(VOICES.parent / "examples" / "kathleen.flac", dtype="float32")
    print("| a second of audio | launches, the flow | waits | launches, all | waits |\n|---|---|---|---|---|")
    for name in ("reference", "one kernel"):
        vocoder = Vocoder.from_pretrained()
        mel = vocoder.mel(torch.from_numpy(np.resize(audio, round(seconds * vocoder.sample_rate))))
        flow = launches(lambda: vocoder.synthesize(mel, seed=0, gl_iters=0, low_band_iters=0))  # noqa: B023
        full = launches(lambda: vocoder.synthesize(mel, seed=0))  # noqa: B023
        numbers = (f"{x.found[what] / seconds:.1f}" for x in (flow, full) for what in ("launches", "waits"))
        print(f"| recursion by {name} | {' | '.join(numbers)} |")
        choice.solve = counted_as_one_kernel(choice.solve)


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
