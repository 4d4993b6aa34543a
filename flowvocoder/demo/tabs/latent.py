"""Recordings as a latent z."""

from typing import Any

import gradio as gr

from flowvocoder.demo import drawing
from flowvocoder.demo.canvas import Look
from flowvocoder.demo.page import Page
from flowvocoder.demo.parts import MODEL_WORK, answer, number, numbers, pcm, player, plot, recording_input
from flowvocoder.demo.service import MOST_TEMPERATURE, Service
from flowvocoder.demo.switch import fill, switch

PLACE = 4

LEAD = """The flow turns a recording into a latent z, with as many numbers as samples. It holds what the mel does not
say. If the model is good, z is Gaussian noise and shows no speech. Decoded with its mel, it gives the recording back.
Change it and listen."""


def build(service: Service, page: Page) -> None:
    with page.tab("Latent", LEAD) as tab:
        with tab.inputs():
            recording = recording_input()
            temperature = gr.Slider(0, MOST_TEMPERATURE, 1.0, step=0.05, label="Temperature",
                                    info="Factor on z; 1 changes nothing")  # fmt: skip
            share = gr.Slider(0, 1, 0, step=0.05, label="Mix", info="Share of another recording's z")
            with gr.Accordion("The other recording", open=False):
                other = recording_input("Its z is mixed in", example=False)
            button = gr.Button("Encode and decode", variant="primary")
        with tab.results("Take an example or your own voice, and press Encode and decode."):
            both = switch("Recording", "Decoded")
            decoded = player("Decoded from z")
            figures = numbers()
            drawn = plot("The latent, and what was decoded from it")

    @answer
    def latent(
        recording: str | None, temperature: float, share: float, other: str | None, narrow: bool, dark: bool
    ) -> Any:
        """Encode a recording, scale its latent and mix it with another's, and decode it.

        Returns the decoded recording, figures, and a plot of the latent and its statistics.
        """
        result = service.latent(recording, temperature, other, share)
        s = result.statistics
        shown = [
            number("Round trip", result.round_trip_error, f"{result.round_trip_error:.0e}",
                   "largest error of a sample, unchanged z"),
            number("Mean", s.mean, f"{s.mean:.3f}", "a Gaussian's is 0"),
            number("Deviation", s.deviation, f"{s.deviation:.3f}", "a Gaussian's is 1"),
            number("Excess kurtosis", s.kurtosis, f"{s.kurtosis:.2f}", "0; heavy tails are above"),
            number("Distance", s.distance, f"{s.distance:.3f}", "Kolmogorov-Smirnov, 0 to 1"),
        ]  # fmt: skip
        return pcm(result.sample_rate, result.decoded), shown, drawing.latent_plot(result, Look(narrow, dark))

    done = tab.on_click(
        button,
        latent,
        [recording, temperature, share, other, *page.look],
        [decoded, figures, drawn],
        api_name="latent",
        **MODEL_WORK,
    )
    fill(both, recording, decoded, after=done)
