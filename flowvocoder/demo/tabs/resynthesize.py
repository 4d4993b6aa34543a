"""Recording to mel and back."""

from typing import Any

import gradio as gr

from flowvocoder.demo import drawing
from flowvocoder.demo.page import Page
from flowvocoder.demo.parts import (
    MODEL_WORK,
    answer,
    number,
    numbers,
    pcm,
    player,
    plot,
    recording_input,
)
from flowvocoder.demo.service import MOST_TEMPERATURE, Service

PLACE = 1

LEAD = """Your recording becomes a mel spectrogram: {bands} numbers every {hop:.0f} ms. The vocoder makes speech from
the mel alone. Nothing of what you hear second was recorded."""


def build(service: Service, page: Page) -> None:
    spec = service.spec
    lead = LEAD.format(bands=spec.n_mels, hop=1000 * spec.hop_length / spec.sample_rate)
    with page.tab("Resynthesize", lead) as tab:
        with tab.inputs():
            recording = recording_input()
            temperature = gr.Slider(0, MOST_TEMPERATURE, service.vocoder.temperature, step=0.05, label="Temperature",
                                    info="Of the noise: 0 buzzes, 1 is hoarse")  # fmt: skip
            denoise = gr.Slider(0, 1, 0, step=0.05, label="Denoise", info="Subtracts the model's own noise")
            seed = gr.Number(0, precision=0, minimum=0, label="Seed", info="The same seed gives the same samples")
            button = gr.Button("Resynthesize", variant="primary")
        with tab.results("Take an example or your own voice, and press Resynthesize."):
            with gr.Row():
                original, vocoded = player("Original"), player("Vocoded")
            figures = numbers()
            spectrograms = plot("Spectrograms of both, and the difference")

    @answer
    def resynthesize(recording: str | None, temperature: float, seed: int, denoise: float, narrow: bool) -> Any:
        """A recording through its mel and back.

        Returns the original and the vocoded recording, figures, and a plot of both spectrograms.
        """
        result = service.resynthesize(recording, temperature, seed, denoise)
        rate = result.sample_rate
        shown = [
            number("Speed", result.times_real_time, f"{result.times_real_time:.1f} ×", "real time, on this server"),
            number("Bits per sample", result.bits_per_sample, f"{result.bits_per_sample:.2f}",
                   "to code the original; 16 as recorded"),
            number("Mel distance", result.mel_distance, f"{result.mel_distance:.2f}", "mean difference, in nats"),
            number("Length", result.seconds, f"{result.seconds:.1f} s", ", ".join(result.changes) or "mono as it came"),
        ]  # fmt: skip
        drawn = drawing.comparison(result.original, result.vocoded, rate, ("recording", "vocoded"), narrow)
        return pcm(rate, result.original), pcm(rate, result.vocoded), shown, drawn

    tab.on_click(
        button,
        resynthesize,
        [recording, temperature, seed, denoise, page.narrow],
        [original, vocoded, figures, spectrograms],
        api_name="resynthesize",
        **MODEL_WORK,
    )
