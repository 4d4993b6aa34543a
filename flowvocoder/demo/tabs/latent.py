"""Recordings as noise."""

from typing import Any

import gradio as gr

from flowvocoder.demo import drawing
from flowvocoder.demo.page import Page
from flowvocoder.demo.parts import MODEL_WORK, answer, number, numbers, pcm, picture, player, recording_input
from flowvocoder.demo.service import MOST_TEMPERATURE, Service

LEAD = """Run backwards, the flow turns a recording into noise: as many numbers as samples, with all that the mel does
not say. If the model is good the noise is Gaussian, and you see no speech in it. Nothing is lost: decoded with its mel
it is the recording again. Now change it and listen."""


def build(service: Service, page: Page) -> None:
    with page.tab("Latent", LEAD) as tab:
        with tab.inputs():
            recording = recording_input()
            temperature = gr.Slider(0, MOST_TEMPERATURE, 1.0, step=0.05, label="Temperature",
                                    info="The noise times this; 1 changes nothing")  # fmt: skip
            share = gr.Slider(0, 1, 0, step=0.05, label="Mix", info="How much of another recording's noise")
            with gr.Accordion("The other recording", open=False):
                other = recording_input("Its noise is mixed in", example=False)
            button = gr.Button("Encode and decode", variant="primary")
        with tab.results("Take an example or your own voice, and press Encode and decode."):
            decoded = player("Decoded from the noise")
            figures = numbers()
            drawn = picture("The noise, and what was decoded from it")

    @answer
    def latent(recording: str | None, temperature: float, share: float, other: str | None, narrow: bool) -> Any:
        """Encode a recording to noise, scale it and mix it with another's, and decode it.

        Returns the decoded recording, figures, and a picture of the noise and its statistics.
        """
        result = service.latent(recording, temperature, other, share)
        s = result.statistics
        shown = [
            number("Round trip", result.round_trip_error, f"{result.round_trip_error:.0e}",
                   "largest error of a sample, unchanged noise"),
            number("Mean", s.mean, f"{s.mean:.3f}", "a Gaussian's is 0"),
            number("Deviation", s.deviation, f"{s.deviation:.3f}", "a Gaussian's is 1"),
            number("Excess kurtosis", s.kurtosis, f"{s.kurtosis:.2f}", "0; heavy tails are above"),
            number("Distance", s.distance, f"{s.distance:.3f}", "Kolmogorov-Smirnov, 0 to 1"),
        ]  # fmt: skip
        return pcm(result.sample_rate, result.decoded), shown, drawing.latent_picture(result, narrow)

    tab.on_click(
        button,
        latent,
        [recording, temperature, share, other, page.narrow],
        [decoded, figures, drawn],
        api_name="latent",
        **MODEL_WORK,
    )
