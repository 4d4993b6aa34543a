"""Recording to mel and back."""

from typing import Any

import gradio as gr

from flowvocoder.demo import drawing
from flowvocoder.demo.canvas import Look
from flowvocoder.demo.page import Page
from flowvocoder.demo.parts import (
    MODEL_WORK,
    answer,
    file_to_give,
    number,
    numbers,
    pcm,
    player,
    plot,
    postfilter_slider,
    recording_input,
    seed_input,
    temperature_slider,
)
from flowvocoder.demo.service import Service
from flowvocoder.demo.switch import fill, switch
from flowvocoder.mel.files import npy_bytes

PLACE = 1

LEAD = """Your recording becomes a mel spectrogram: {bands} numbers every {hop:.0f} ms. The vocoder makes speech from
the mel alone. Nothing of what you hear second was recorded."""


def build(service: Service, page: Page) -> None:
    spec = service.spec
    lead = LEAD.format(bands=spec.n_mels, hop=1000 * spec.hop_length / spec.sample_rate)
    with page.tab("Resynthesize", lead) as tab:
        with tab.inputs():
            recording = recording_input()
            temperature = temperature_slider(service.vocoder.temperature)
            gl_iters = postfilter_slider(service.vocoder.gl_iters)
            denoise = gr.Slider(0, 1, 0, step=0.05, label="Denoise", info="Subtracts the model's own noise")
            seed = seed_input()
            button = gr.Button("Resynthesize", variant="primary")
        with tab.results("Take an example or your own voice, and press Resynthesize."):
            both = switch("Original", "Vocoded")
            with gr.Row():
                original, vocoded = player("Original"), player("Vocoded")
            figures = numbers()
            spectrograms = plot("Spectrograms of both, and the difference")
            mel_file = gr.DownloadButton("Download the mel (.npy): all that the vocoder was given", size="sm")

    @answer
    def resynthesize(
        recording: str | None, temperature: float, seed: int, denoise: float, gl_iters: int, narrow: bool, dark: bool
    ) -> Any:
        """A recording through its mel and back.

        Returns the original and the vocoded recording, figures, a plot of both spectrograms, and the mel as a file.
        """
        result = service.resynthesize(recording, temperature, seed, denoise, gl_iters)
        rate = result.sample_rate
        shown = [
            number("Speed", result.times_real_time, f"{result.times_real_time:.1f} ×", "real time, on this server"),
            number("Bits per sample", result.bits_per_sample, f"{result.bits_per_sample:.2f}",
                   "to code the original; 16 as recorded"),
            number("Mel distance", result.mel_distance, f"{result.mel_distance:.2f}", "mean difference, in nats"),
            number("Length", result.seconds, f"{result.seconds:.1f} s", ", ".join(result.changes) or "mono as it came"),
        ]  # fmt: skip
        look = Look(narrow, dark)
        drawn = drawing.comparison(result.original, result.vocoded, rate, ("recording", "vocoded"), look)
        given = file_to_give(mel_file, "mel.npy", npy_bytes(result.mel.numpy()))
        return pcm(rate, result.original), pcm(rate, result.vocoded), shown, drawn, given

    done = tab.on_click(
        button,
        resynthesize,
        [recording, temperature, seed, denoise, gl_iters, *page.look],
        [original, vocoded, figures, spectrograms, mel_file],
        api_name="resynthesize",
        **MODEL_WORK,
    )
    fill(both, original, vocoded, after=done)
