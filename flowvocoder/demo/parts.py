"""Pieces that the tabs are made of."""

import contextlib
import copy
import functools
import html
import logging
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr

import flowvocoder
from flowvocoder.audio.files import Samples
from flowvocoder.audio.pcm16 import to_pcm16
from flowvocoder.demo.service import MOST_GL_ITERS, MOST_TEMPERATURE
from flowvocoder.errors import AcousticError, FlowVocoderError

EXAMPLES = Path(flowvocoder.__file__).parent / "examples"
EXAMPLE_NAMES = {"Kathleen (English)": EXAMPLES / "kathleen.flac", "Kerstin (German)": EXAMPLES / "kerstin.flac"}

MODEL_WORK: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 2}
"""Two requests at a time use the model; the others wait in the queue and see their place in it."""

PRIVATE: dict[str, Any] = {"api_visibility": "private"}

NUMBERS = """<dl class="numbers">
{{#each value}}<div><dt>{{label}}</dt><dd>{{text}}</dd><small>{{note}}</small></div>{{/each}}</dl>"""


def files_of_their_own(component: Any) -> Any:
    """The same component of Gradio's, each result of which is a file of its own.

    Gradio names results after their content and writes them anew each time: of two visitors with the same recording,
    one would get the file of the other while it is written, empty. Files in the cache are deleted in time either way.
    """
    publish = type(component).postprocess

    def publish_apart(value: Any) -> Any:
        Path(component.GRADIO_CACHE).mkdir(parents=True, exist_ok=True)
        apart = copy.copy(component)  # requests run in threads: the component itself must stay as it is
        apart.GRADIO_CACHE = tempfile.mkdtemp(dir=component.GRADIO_CACHE)
        return publish(apart, value)

    component.postprocess = publish_apart
    return component


def file_to_give(component: Any, name: str, content: bytes) -> str:
    """Path of a new file in the component's cache, where Gradio deletes it in time."""
    Path(component.GRADIO_CACHE).mkdir(parents=True, exist_ok=True)
    path = Path(tempfile.mkdtemp(dir=component.GRADIO_CACHE)) / name
    path.write_bytes(content)
    return str(path)


def temperature_slider(own: float) -> gr.Slider:
    """Of synthesis; `own` is the voice's."""
    return gr.Slider(0, MOST_TEMPERATURE, own, step=0.05, label="Temperature",
                     info="Of the noise: 0 buzzes, 1 is hoarse")  # fmt: skip


def postfilter_slider(own: int) -> gr.Slider:
    """Iterations after the flow; `own` is the voice's."""
    return gr.Slider(0, MOST_GL_ITERS, own, step=1, label="Post-filter",
                     info="Iterations towards the mel; 0 is the flow alone")  # fmt: skip


def latency_choice(latencies: list[int]) -> gr.Dropdown:
    """Milliseconds that a stream is behind its mel, or 0."""
    choices = [("As a file: the post-filter above", 0), *((f"{ms} ms, as a stream", ms) for ms in latencies)]
    return gr.Dropdown(choices, value=0, label="Latency", info="How a stream so far behind its mel would sound")


def seed_input() -> gr.Number:
    """Of the noise."""
    return gr.Number(0, precision=0, minimum=0, label="Seed", info="The same seed gives the same samples")


def recording_input(label: str = "Recording", example: bool = True) -> gr.Audio:
    """Upload or record, with the bundled examples a click away; the first is there from the start if `example`."""
    first = str(next(iter(EXAMPLE_NAMES.values()))) if example else None
    audio = gr.Audio(value=first, label=label, type="filepath", sources=["upload", "microphone"], buttons=[])
    with gr.Row():
        for name, path in EXAMPLE_NAMES.items():
            gr.Button(name, size="sm", min_width=120).click(
                functools.partial(str, path), None, audio, queue=False, **PRIVATE
            )
    return audio


def player(label: str) -> gr.Audio:
    """Plays and downloads what came out."""
    return files_of_their_own(gr.Audio(label=label, interactive=False, type="filepath", buttons=["download"]))


def plot(label: str, visible: bool = True) -> gr.Image:
    """A drawing, to be enlarged or saved."""
    image = gr.Image(label=label, interactive=False, format="png", buttons=["download", "fullscreen"],
                     visible=visible, alt_text=label, elem_classes="drawing")  # fmt: skip
    return files_of_their_own(image)


def numbers() -> gr.HTML:
    """Tiles with a figure each; the value is a list of `number(...)`."""
    return gr.HTML(value=[], html_template=NUMBERS, js_on_load=None)


def number(label: str, value: float, text: str, note: str = "") -> dict[str, Any]:
    """One tile: the API gives the value, the page shows the text."""
    return {"label": label, "value": value, "text": text, "note": note}


def table(headings: list[str], rows: list[list[str]], numeric: int) -> str:
    """HTML with everything escaped; the last `numeric` columns are figures, after a line break comes small print."""

    def cells(tag: str, texts: list[str]) -> str:
        words = len(texts) - numeric
        style = ["" if index < words else ' class="number"' for index in range(len(texts))]
        return "".join(f"<{tag}{s}>{_cell(t)}</{tag}>" for s, t in zip(style, texts, strict=True))

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f'<table class="table"><thead><tr>{cells("th", headings)}</tr></thead><tbody>{body}</tbody></table>'


def _cell(text: str) -> str:
    main, _, small = text.partition("\n")
    return html.escape(main) + (f"<small>{html.escape(small)}</small>" if small else "")


def verdict(text: str, kind: str = "") -> str:
    """A sentence set off by a coloured bar: kind "", "bad" or "idle"."""
    return f'<div class="verdict {kind}">{html.escape(text)}</div>'


def pcm(sample_rate: int, samples: Samples) -> tuple[int, Any]:
    """For a player: 16 bit, since gr.Audio scales floating-point audio to its peak."""
    return sample_rate, to_pcm16(samples)[0]


def answer(function: Callable[..., Any]) -> Callable[..., Any]:
    """Bad input becomes a message in the page; what nobody foresaw is logged, without details for the visitor."""

    @functools.wraps(function)
    def wrapped(*arguments: Any) -> Any:
        with _messages():
            return function(*arguments)

    return wrapped


def answer_in_pieces(function: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """The same for a generator."""

    @functools.wraps(function)
    def wrapped(*arguments: Any) -> Iterator[Any]:
        with _messages():
            yield from function(*arguments)

    return wrapped


@contextlib.contextmanager
def _messages() -> Iterator[None]:
    try:
        yield
    except gr.Error:
        raise
    except Exception as error:
        if isinstance(error, FlowVocoderError) and not isinstance(error, AcousticError):
            # The text may hold the name of a stranger's file, and the page would take it for HTML.
            raise gr.Error(html.escape(str(error)), 20, title="That did not work", print_exception=False) from error
        logging.getLogger(__name__).exception("not foreseen")
        raise gr.Error("Something went wrong on the server; it has been noted there", print_exception=False) from error
