"""Several pieces of a mel at a time: the same bits as one after the other, and no end that waits for ever."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor

from flowvocoder.postfilter.consistency import Iteration
from flowvocoder.streaming.pieces import Handover, frames_at_once
from flowvocoder.threads import set_threads
from flowvocoder.vocoder import Vocoder


@pytest.fixture(autouse=True)
def short_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowvocoder.streaming.pieces.CHUNK", 24)


@pytest.fixture
def mel() -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(2, 80, 60, generator=generator) - 5.0


@pytest.mark.slow
@pytest.mark.parametrize("threads", [2, 50])
def test_the_audio_is_the_same_to_the_last_bit(small_voice: Path, mel: Tensor, threads: int) -> None:
    vocoder = Vocoder.from_pretrained(small_voice)
    alone = list(vocoder.synthesize_pieces(mel, seed=3, lengths=[60, 31]))
    noise = vocoder.draw_noise(mel, seed=3)
    decoded = vocoder.decode(noise, mel)
    set_threads(threads)
    together = list(vocoder.synthesize_pieces(mel, seed=3, lengths=[60, 31]))
    assert len(together) == len(alone) > 4
    assert all(torch.equal(a, b) for a, b in zip(together, alone, strict=True))
    assert torch.equal(vocoder.decode(noise, mel), decoded)


def test_who_waits_for_another_piece_gives_its_place_away() -> None:
    free, begun = threading.Semaphore(1), threading.Event()
    first, second = Handover(free), Handover(free)

    def later() -> object:
        with second:
            begun.set()
            return first.take()

    with ThreadPoolExecutor(1) as pool:
        left = pool.submit(later)
        assert begun.wait(10) and free.acquire(timeout=10)
        first.give(torch.ones(1))
        assert not left.done(), "it went on beside the one that works"
        free.release()
        assert torch.equal(left.result(10), torch.ones(1))


def test_an_error_in_one_piece_is_raised(small_voice: Path, mel: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    vocoder = Vocoder.from_pretrained(small_voice)
    set_threads(3)
    push, calls = Iteration.push, iter(range(1000))

    def fails(self: Iteration, mel: Tensor, audio: Tensor, ends: bool = False) -> Tensor:
        if next(calls) == 4:
            raise MemoryError("of the fifth piece")
        return push(self, mel, audio, ends)

    monkeypatch.setattr(Iteration, "push", fails)
    with pytest.raises(MemoryError, match="of the fifth piece"):
        vocoder.synthesize(mel, seed=3)


def test_who_stops_listening_leaves_no_thread_behind(small_voice: Path, mel: Tensor) -> None:
    vocoder = Vocoder.from_pretrained(small_voice)
    set_threads(3)
    pieces = vocoder.synthesize_pieces(mel, seed=3)
    next(pieces)
    assert any(thread.name.startswith("synthesis") for thread in threading.enumerate())
    pieces.close()  # type: ignore[attr-defined]
    assert not any(thread.name.startswith("synthesis") for thread in threading.enumerate())


def test_a_batch_on_a_gpu_is_not_cut_into_slices_of_a_few_frames() -> None:
    assert frames_at_once(64, "cuda") >= 10 * 86
    assert frames_at_once(10**9, "cpu") == 1
