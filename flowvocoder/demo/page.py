"""The frame that all tabs share: an explanation, inputs at the left, results at the right (on a phone, below)."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from flowvocoder.demo.parts import PRIVATE

_LOOK = "() => [window.innerWidth < 700, document.body.classList.contains('dark')]"


class Page:
    """What tabs need to know of the page around them.

    Attributes:
        look: hidden checkboxes, ticked on a phone and on a dark page; plots are drawn for these.
    """

    def __init__(self, blocks: gr.Blocks):
        labels = ("Plots for a phone", "Plots for a dark page")
        self.look = [gr.Checkbox(False, visible="hidden", label=label) for label in labels]
        blocks.load(None, None, self.look, js=_LOOK, queue=False, **PRIVATE)

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
        self,
        button: gr.Button,
        function: Callable[..., Any],
        inputs: list[Any],
        outputs: list[Any],
        kept: gr.State | None = None,
        **event: Any,
    ) -> Any:
        """Make room for results, then run. If that fails, the results of another request must not stay.

        Args:
            kept: one of the outputs. Once the function has put something in there, its results stay although it was
                cancelled or failed.
        """
        states = [] if kept is None else [kept]
        room: dict[str, Any] = {"queue": False, "show_progress": "hidden", **PRIVATE}
        places = [self._empty, self._full]
        # The room is made first, so that progress shows where the result will be.
        made = button.click(lambda: (*_show(True), *(None for _ in states)), None, [*places, *states], **room)
        ran = made.then(function, inputs, outputs, **event)
        ran.failure(lambda *found: _show(any(value is not None for value in found)), states, places, **room)
        return ran


def _show(results: bool) -> tuple[Any, Any]:
    """Either the invitation or the results."""
    return gr.HTML(visible=not results), gr.Column(visible=results)
