"""Audio on its way through the layers."""

from typing import Any

import gradio as gr

from flowvocoder.demo import drawing
from flowvocoder.demo.canvas import Look
from flowvocoder.demo.page import Page
from flowvocoder.demo.parts import MODEL_WORK, PRIVATE, answer, recording_input, table
from flowvocoder.demo.service import Service

PLACE = 9

LEAD = """A flow is a chain of invertible layers that turns a recording into noise, step by step. Synthesis starts from
noise and goes back. Each figure is the log-likelihood per sample if the chain ended there, and the change from the step
before. The layers were trained together: one may lose a little that later ones win back."""


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
    def walk(recording: str | None, narrow: bool, dark: bool) -> Any:
        """A recording after each layer of the flow. Returns a plot a layer, and a table of what each does."""
        steps, look = service.walk(recording), Look(narrow, dark)
        rate, samples = service.spec.sample_rate, steps[0].state.numel()
        plots = [
            (drawing.layer_plot(step, rate, samples, look), f"{index + 1}. {step.name}")
            for index, step in enumerate(steps)
        ]
        rows, explained, before = [], set(), None
        for index, step in enumerate(steps):
            text = f"{index + 1}. {step.name}" + ("" if step.explanation in explained else f"\n{step.explanation}")
            explained.add(step.explanation)  # a step that comes again needs no words
            nats = step.nats_per_sample
            rows.append([text, f"{nats:.3f}", "" if before is None else f"{nats - before:+.3f}"])
            before = nats
        return plots, table(["step", "nats/sample", "change"], rows, numeric=2)

    walked = tab.on_click(button, walk, [recording, *page.look], [gallery, steps_table], api_name="walk", **MODEL_WORK)
    walked.then(lambda: gr.Gallery(selected_index=0), None, gallery, queue=False, show_progress="hidden", **PRIVATE)
