"""What is broken in recordings, and where: each span to hear, and the list to take along."""

import json
from pathlib import Path
from typing import Any

import gradio as gr

from flowvocoder.demo.limits import KEEP_SECONDS
from flowvocoder.demo.page import Page
from flowvocoder.demo.parts import MODEL_WORK, PRIVATE, answer, file_to_give, pcm, player, plot, table
from flowvocoder.demo.service import MOST_FILES, Fault, Service
from flowvocoder.errors import AudioError, FlowVocoderError

PLACE = 8

LEAD = """Drop recordings of speech. A detector says how unlike clean speech each is, and where it sounds broken:
clipping, lost packets, clicks, hum, codecs, other vocoders. p is the share of clean recordings that score as high."""

AROUND = 0.5
"""Seconds before and after a span that are played with it."""


def build(service: Service, page: Page) -> None:
    with page.tab("Faults", LEAD) as tab:
        with tab.inputs():
            files = gr.File(label=f"Recordings, at most {MOST_FILES}", file_count="multiple", height=160)
            button = gr.Button("Find faults", variant="primary")
        with tab.results("Drop recordings, and press Find faults."):
            listing = gr.HTML()
            span = gr.Dropdown([], label="Span to hear", info="With half a second before and after")
            heard = player("Span")
            drawn = plot("Spectrogram, evidence and spans")
            exported = gr.File(label="The list as JSON", interactive=False)
        kept = gr.State([], time_to_live=KEEP_SECONDS)  # as long as the recordings

    @answer
    def faults(paths: list[str] | None) -> Any:
        """Scores and spans of recordings: an HTML table, the spans' names, and the list as a JSON file."""
        if not paths:
            raise AudioError("Choose recordings first")
        if len(paths) > MOST_FILES:
            raise AudioError(f"{len(paths)} recordings are more than the {MOST_FILES} allowed at a time")
        rows, names = [], []
        found: list[Fault] = []
        for path in paths:
            name = Path(path).name
            try:
                fault = service.faults(path)
            except FlowVocoderError as error:
                rows.append([f"{name}: {str(error).removeprefix(f'{name}: ')}", "", "", ""])
                continue
            spans = fault.verdict.spans
            said = ", ".join(f"{s.kind} {s.start:.2f}-{s.end:.2f} s" for s in spans) or "nothing found"
            rows.append([name, said, f"{fault.verdict.score:.2f}", f"{fault.verdict.p_value:.4f}"])
            labels = [f"{name}: {s.kind}, {s.start:.2f} to {s.end:.2f} s" for s in spans]
            names += [(label, f"{len(found)} {number}") for number, label in enumerate(labels)]
            found.append(fault)
        listed = [fault.verdict.as_json(fault.path.name) for fault in found]
        content = (json.dumps(listed, indent=1) + "\n").encode()
        choice = gr.Dropdown(names, value=names[0][1] if names else None)
        shown = table(["recording", "spans", "score", "p"], rows, numeric=2)
        return shown, choice, file_to_give(exported, "faults.json", content), found

    @answer
    def hear(chosen: str | None, found: list[Fault]) -> Any:
        """A span with what lies around it, and the picture of its recording."""
        try:
            place, number = map(int, (chosen or "").split())
            fault = found[place]
            span = fault.verdict.spans[number]
        except (ValueError, IndexError):
            return None, None
        recording = fault.recording()
        rate = recording.sample_rate
        first, last = max(0, round((span.start - AROUND) * rate)), round((span.end + AROUND) * rate)
        return pcm(rate, recording.samples[first:last]), fault.picture(recording)

    done = tab.on_click(button, faults, [files], [listing, span, exported, kept], api_name="faults", **MODEL_WORK)
    done.then(hear, [span, kept], [heard, drawn], **MODEL_WORK, **PRIVATE)
    span.input(hear, [span, kept], [heard, drawn], **MODEL_WORK, **PRIVATE)
