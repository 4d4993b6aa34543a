"""Audio on its way through the layers."""

from typing import Any

import gradio as gr

from flowvocoder.demo import drawing
from flowvocoder.demo.page import Page
from flowvocoder.demo.parts import MODEL_WORK, PRIVATE, answer, recording_input, table
from flowvocoder.demo.service import Service

PLACE = 6

LEAD = """A flow is a chain of invertible layers. Each brings the recording closer to noise. The figure is the log-
likelihood if the chain ended there: what a layer adds is what it has learned. Synthesis starts from noise and inverts
the layers."""


def build(service: Service, page: Page) -> None:
    with page.tab("How a flow works", LEAD) as tab:
        with tab.inputs():
            recording = recording_input()
            button = gr.Button("Walk through", variant="primary")
        with tab.results("Take an example or your own voice, and press Walk through."):
            gallery = gr.Gallery(label="Step by step", columns=3, object_fit="contain", preview=True, height=560,
                                 buttons=["download", "fullscreen"], format="png", interactive=False,
                                 elem_classes="steps")  # fmt: skip
            steps_table = gr.HTML()

    @answer
    def walk(recording: str | None, narrow: bool) -> Any:
        """A recording after each layer of the flow. Returns a plot a layer, and a table of what each does."""
        steps = service.walk(recording)
        rate, samples = service.spec.sample_rate, steps[0].state.numel()
        plots = [
            (drawing.layer_plot(step, rate, samples, narrow), f"{index + 1}. {step.name}")
            for index, step in enumerate(steps)
        ]
        rows, explained = [], set()
        for index, step in enumerate(steps):
            text = f"{index + 1}. {step.name}" + ("" if step.explanation in explained else f"\n{step.explanation}")
            explained.add(step.explanation)  # a step that comes again needs no words
            rows.append([text, f"{step.nats_per_sample:.3f}"])
        return plots, table(["step", "nats/sample"], rows, numeric=1)

    walked = tab.on_click(button, walk, [recording, page.narrow], [gallery, steps_table], api_name="walk", **MODEL_WORK)
    walked.then(lambda: gr.Gallery(selected_index=0), None, gallery, queue=False, show_progress="hidden", **PRIVATE)
