"""Mel files to speech, played while it is made."""

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import torch

from flowvocoder.demo import drawing
from flowvocoder.demo.canvas import Look
from flowvocoder.demo.live import LiveAudio, live_player
from flowvocoder.demo.page import Page
from flowvocoder.demo.parts import (
    EXAMPLE_NAMES,
    MODEL_WORK,
    PRIVATE,
    answer,
    answer_in_pieces,
    latency_choice,
    number,
    numbers,
    pcm,
    player,
    plot,
    postfilter_slider,
    seed_input,
    temperature_slider,
    verdict,
)
from flowvocoder.demo.service import Service
from flowvocoder.errors import FlowVocoderError
from flowvocoder.mel.arrays import SUFFIXES
from flowvocoder.mel.diagnose import conventions_it_could_be
from flowvocoder.mel.files import write_mel

PLACE = 2

LEAD = """Drop the mel that your text-to-speech model predicts, and hear it while it is synthesised. Mels differ
between programs; the check names the convention that yours resembles."""

IDLE = "Drop a mel file: bands × frames, as .npy, .npz or .pt (numbers only, nothing in it is run)."


def build(service: Service, page: Page) -> None:
    with page.tab("Mel to speech", LEAD) as tab:
        with tab.inputs():
            file = gr.File(label="Mel file", file_types=list(SUFFIXES), height=132)
            example = gr.Button("Take an example: Kathleen's mel", size="sm")
            checked = gr.HTML(verdict(IDLE, "idle"))
            trust = gr.Checkbox(False, label="Synthesise it whatever it looks like")
            temperature = temperature_slider(service.vocoder.temperature)
            gl_iters = postfilter_slider(service.vocoder.gl_iters)
            latency = latency_choice(service.latencies())
            seed = seed_input()
            button = gr.Button("Speak", variant="primary")
        with tab.results("Drop a mel or take the example, and press Speak."):
            live = live_player()
            whole = player("Speech")
            figures = numbers()
            drawn = plot("The mel")

    def check(file: str | None) -> str:
        """What a mel file looks like, in a sentence."""
        if not file:
            return verdict(IDLE, "idle")
        try:
            return verdict(_description(service, service.mel(file, trust=False)))
        except FlowVocoderError as error:
            return verdict(str(error), "bad")

    @answer_in_pieces
    def speak(
        file: str | None,
        trust: bool,
        temperature: float,
        seed: int,
        gl_iters: int,
        latency: float,
        narrow: bool,
        dark: bool,
    ) -> Iterator[Any]:
        """A mel file to speech, in pieces as they are made; `latency` is in ms, or 0 for the iterations of files.

        Returns the live player's value, at the end the whole recording, figures and a plot of the mel.
        """
        mel = service.mel(file, trust)
        rate, seconds = service.spec.sample_rate, mel.shape[-1] * service.spec.hop_length / service.spec.sample_rate
        sound, pieces = LiveAudio(uuid.uuid4().hex, rate, seconds), []
        started, first = time.perf_counter(), 0.0
        for piece in service.stream(mel, temperature, seed, gl_iters, latency):
            pieces.append(piece)
            if not len(piece):  # the model still looks ahead
                continue
            first = first or time.perf_counter() - started
            yield sound.add(piece.numpy()), None, [], None
        elapsed = time.perf_counter() - started
        shown = [
            number("First sound", first, f"{1000 * first:.0f} ms", "after pressing Speak, on the server"),
            number("Speed", seconds / elapsed, f"{seconds / elapsed:.1f} ×", "real time, waits for the page included"),
            number("Length", seconds, f"{seconds:.1f} s", f"{mel.shape[-1]} frames"),
        ]
        yield (
            sound.finish(),
            pcm(rate, torch.cat(pieces).numpy()),
            shown,
            drawing.mel_plot(mel.double().numpy(), seconds, Look(narrow, dark)),
        )

    @answer
    def take_example() -> str:
        recording = next(iter(EXAMPLE_NAMES.values()))
        path = Path(file.GRADIO_CACHE) / f"{recording.stem}.npy"
        mel = service.vocoder.mel(torch.from_numpy(service.samples(str(recording))))
        write_mel(path, mel[0].cpu().numpy(), service.spec)
        return str(path)

    file.change(check, file, checked, api_name="check_mel", api_description=check.__doc__)
    example.click(take_example, None, file, **PRIVATE, **MODEL_WORK)
    tab.on_click(
        button,
        speak,
        [file, trust, temperature, seed, gl_iters, latency, *page.look],
        [live, whole, figures, drawn],
        api_name="speak",
        **MODEL_WORK,
    )


def _description(service: Service, mel: torch.Tensor) -> str:
    bands, frames = mel.shape
    seconds = frames * service.spec.hop_length / service.spec.sample_rate
    names = conventions_it_could_be(mel.numpy())
    guess = f"It looks like {' or '.join(names)}. " if names else ""
    return (
        f"{bands} bands × {frames} frames, {seconds:.1f} s, values {float(mel.min()):.2f} to {float(mel.max()):.2f}."
        f" {guess}The voice understands {service.spec.name()}: this will do."
    )
