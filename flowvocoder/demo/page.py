"""The frame that all tabs share: an explanation, inputs at the left, results at the right (on a phone, below)."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from flowvocoder.demo.parts import PRIVATE


class Page:
    """What tabs need to know of the page around them.

    Attributes:
        narrow: a hidden checkbox, ticked on a phone; plots are drawn for that width.
    """

    def __init__(self, blocks: gr.Blocks):
        self.narrow = gr.Checkbox(False, visible="hidden", label="Plots for a phone")
        blocks.load(None, None, self.narrow, js="() => window.innerWidth < 700", queue=False, **PRIVATE)

    @contextlib.contextmanager
    def tab(self, name: str, lead: str) -> Iterator["Tab"]:
        """A tab with an explanation at its top."""
        with gr.Tab(name, id=name):
            gr.Markdown(lead, elem_classes="lead")
            with gr.Row(equal_height=False):
                yield Tab()


class Tab:
    """Inputs, and results that show once there is something to show."""

    @contextlib.contextmanager
    def inputs(self) -> Iterator[None]:
        with gr.Column(scale=3, min_width=300):
            yield

    @contextlib.contextmanager
    def results(self, invitation: str) -> Iterator[None]:
        """Room for results; until the first one, an invitation."""
        with gr.Column(scale=7, min_width=300):
            self._empty = gr.HTML(f'<div class="empty">{invitation}</div>')
            with gr.Column(visible=False) as self._full:
                yield

    def on_click(
        self, button: gr.Button, function: Callable[..., Any], inputs: list[Any], outputs: list[Any], **event: Any
    ) -> Any:
        """Make room for results, then run."""
        # The room is made first, so that progress shows where the result will be.
        shown = button.click(self._reveal, None, [self._empty, self._full], queue=False, show_progress="hidden",
                             **PRIVATE)  # fmt: skip
        return shown.then(function, inputs, outputs, **event)

    @staticmethod
    def _reveal() -> tuple[Any, Any]:
        return gr.HTML(visible=False), gr.Column(visible=True)
