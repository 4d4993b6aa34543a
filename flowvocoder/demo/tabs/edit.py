"""Recordings at another pitch or speed, with other formants, and with a span drawn anew."""

from typing import Any

import gradio as gr

from flowvocoder.demo import drawing
from flowvocoder.demo.canvas import Look
from flowvocoder.demo.page import Page
from flowvocoder.demo.parts import MODEL_WORK, answer, pcm, player, plot, recording_input, seed_input
from flowvocoder.demo.service import Service
from flowvocoder.demo.switch import fill, switch

PLACE = 5

LEAD = """Change one thing of a recording and keep the rest. Pitch, speed and formants are made of its own samples. A
span drawn anew is the flow's: it gets new noise under the same mel, and nothing outside it changes."""


def build(service: Service, page: Page) -> None:
    with page.tab("Edit", LEAD) as tab:
        with tab.inputs():
            recording = recording_input()
            pitch = gr.Slider(-12, 12, 0, step=0.1, label="Pitch", info="Semitones up; speed and voice stay")
            speed = gr.Slider(0.5, 2, 1, step=0.05, label="Speed", info="Times as fast; pitch and voice stay")
            formants = gr.Slider(0.7, 1.4, 1, step=0.01, label="Formants", info="Above 1 sounds like a smaller speaker")
            with gr.Row():
                start = gr.Number(0, minimum=0, step=0.01, label="Anew from", info="Seconds")
                end = gr.Number(0, minimum=0, step=0.01, label="Anew to", info="Seconds; the same: nothing")
            seed = seed_input()
            button = gr.Button("Edit", variant="primary")
        with tab.results("Take an example or your own voice, move a slider, and press Edit."):
            both = switch("Recording", "Edited")
            edited = player("Edited")
            drawn = plot("Before and after")

    @answer
    def edit(
        recording: str | None,
        pitch: float,
        speed: float,
        formants: float,
        start: float,
        end: float,
        seed: int,
        narrow: bool,
        dark: bool,
    ) -> Any:
        """Change a recording's pitch (semitones), speed and formants (factors), and draw start to end (s) anew first.

        Returns the edited recording and a plot of both.
        """
        rate, before, after = service.edit(recording, pitch, speed, formants, start, end, seed)
        return pcm(rate, after), drawing.edit_plot(before, after, rate, Look(narrow, dark))

    done = tab.on_click(
        button,
        edit,
        [recording, pitch, speed, formants, start, end, seed, *page.look],
        [edited, drawn],
        api_name="edit",
        **MODEL_WORK,
    )
    fill(both, recording, edited, after=done)
