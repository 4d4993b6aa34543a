"""Kernels that a GPU would launch for synthesis: python docs/scripts/launches.py [SECONDS]

Counts the operators of PyTorch that compute or copy while the bundled voice runs on the CPU; each would be a kernel on
a GPU, or as many as `SEVERAL` says. Reading a number back, for which the CPU waits, is counted by itself. The second
table is of what a CUDA graph replays: one whole mel, at batch 1.
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
from flowvocoder.postfilter import arithmetic
from flowvocoder.streaming.recorded import on_grid, padded, whole
from flowvocoder.vocoder import Vocoder
from flowvocoder.voice_card import VOICES

KERNEL = 3
"""Launches of the Triton kernel with what it is given: a copy of the past, contiguous taps, and itself."""

SEVERAL = {"pad": 2, "fft_irfft": 3}
"""Kernels of operators that launch more than one: a fill and a copy; a copy, the transform and its scale. A transform
of fewer bins than it has is padded before."""

MAKES_NOTHING = "empty", "empty_like", "new_empty", "empty_strided", "_unsafe_view"


class Launches(TorchDispatchMode):
    """Counts what runs within."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        if name in ("_local_scalar_dense", "item"):
            self.found["waits"] += 1
        elif not function.is_view and name not in MAKES_NOTHING and not _onto_itself(name, args):
            self._add(name)
            if name == "fft_irfft" and args[0].shape[-1] <= args[1] // 2:
                self._add("pad")
        return function(*args, **(kwargs or {}))

    def _add(self, name: str) -> None:
        kernels = SEVERAL.get(name, 1)
        self.found["launches"] += kernels
        self.found[name] += kernels


def _onto_itself(name: str, given: Any) -> bool:
    """Whether a copy is what `x[:n] += y` ends with, which PyTorch leaves out."""
    return name == "copy_" and given[0].data_ptr() == given[1].data_ptr() and given[0].shape == given[1].shape


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


def recorded(vocoder: Vocoder, mel: torch.Tensor, stages: bool = True) -> Callable[[], object]:
    """What is recorded for a mel (1, n_mels, F): with the voice's own iterations, or the flow alone."""
    settings = vocoder.iterations(*((None, None, None) if stages else (0, 0, None)))
    step = vocoder._steps.require()
    run = whole(step, lambda lengths: vocoder.postfilter.stages(settings, lengths))
    noise = vocoder.draw_noise(mel, seed=0).transpose(1, 2)
    inputs = padded(mel, noise, None, 1, on_grid(mel.shape[2]))

    @torch.inference_mode()
    def once() -> object:
        return run(inputs)

    return once


def main(seconds: float = 10.0) -> None:
    arithmetic.TOGETHER = 2**40  # a GPU takes all frames at once
    audio, _ = soundfile.read(VOICES.parent / "examples" / "kathleen.flac", dtype="float32")
    print("| a second of audio | launches, the flow | waits | launches, all | waits |\n|---|---|---|---|---|")
    whole_mels = []
    for name in ("NumPy", "one kernel"):
        vocoder = Vocoder.from_pretrained()
        mel = vocoder.mel(torch.from_numpy(np.resize(audio, round(seconds * vocoder.sample_rate))))
        flow = launches(lambda: vocoder.synthesize(mel, seed=0, gl_iters=0, low_band_iters=0))  # noqa: B023
        full = launches(lambda: vocoder.synthesize(mel, seed=0))  # noqa: B023
        numbers = (f"{x.found[what] / seconds:.1f}" for x in (flow, full) for what in ("launches", "waits"))
        print(f"| recursion by {name} | {' | '.join(numbers)} |")
        counts = [launches(recorded(vocoder, mel, stages)) for stages in (False, True)]
        whole_mels.append(f"| recursion by {name} | {' | '.join(str(x.found['launches']) for x in counts)} |")
        choice.solve = counted_as_one_kernel(choice.solve)
    print(f"\n| a mel of {seconds:g} s as it is recorded | launches, the flow | all |\n|---|---|---|")
    print("\n".join(whole_mels))
    del counts[1].found["launches"]
    print("\nThe most:", ", ".join(f"{name} {count}" for name, count in counts[1].found.most_common(12)))


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
