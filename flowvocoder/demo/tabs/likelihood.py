"""Where a recording is likely, and what damage does to that."""

from pathlib import Path
from typing import Any

import gradio as gr

from flowvocoder.analysis.damage import Damage
from flowvocoder.demo import drawing
from flowvocoder.demo.canvas import Look
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
    table,
)
from flowvocoder.demo.service import MOST_FILES, Service
from flowvocoder.demo.switch import fill, switch
from flowvocoder.errors import AudioError, FlowVocoderError
from flowvocoder.units import bits_per_sample

PLACE = 6

LEAD = """A flow gives the exact likelihood of any recording, frame by frame, in nats. Noise and clipping lower it.
Silence and missing bands *raise* it, because they are easy to predict: likely is not good. The last line separates
both: 1 is as expected of speech, above is odd, below is too smooth."""

OWN, CLEAN = "its own mel", "the clean recording's mel"
NO_NOISE, FIRST_NOISE = -60, -45


def build(service: Service, page: Page) -> None:
    nyquist = service.spec.sample_rate / 2000
    with page.tab("Likelihood", LEAD) as tab:
        with tab.inputs():
            recording = recording_input()
            noise = gr.Slider(
                NO_NOISE, 0, FIRST_NOISE, step=1, label="Noise, dB", info="Against the speech; -60 is none"
            )
            clip = gr.Slider(5, 100, 100, step=5, label="Clipping, % of the peak", info="100 cuts nothing off")
            gap = gr.Slider(0, 1000, 0, step=50, label="Gap, ms", info="Silence in the middle")
            band = gr.Slider(1, nyquist, nyquist, step=0.25, label="Band limit, kHz", info="Nothing is left above")
            given = gr.Radio([OWN, CLEAN], value=OWN, label="Judged given")
            button = gr.Button("Score", variant="primary")
            with gr.Accordion("Score several recordings", open=False):
                files = gr.File(label=f"Recordings, at most {MOST_FILES}", file_count="multiple", height=120)
                many = gr.Button("Score all")
                scores = gr.HTML()
        with tab.results("Take an example or your own voice, do some damage, and press Score."):
            both = switch("Recording", "Damaged")
            damaged = player("What is scored")
            figures = numbers()
            drawn = plot("Likelihood over time")

    @answer
    def score(
        recording: str | None, noise: float, clip: float, gap: float, band: float, given: str, narrow: bool, dark: bool
    ) -> Any:
        """Likelihood over time of a recording and a damaged copy.

        Returns the damaged copy, figures, and a plot of nats per frame.
        """
        damage = Damage(
            noise_db=None if noise <= NO_NOISE else noise,
            peak=clip / 100,
            gap=gap / 1000,
            band_limit=None if band >= nyquist else 1000 * band,
        )
        result = service.likelihood(recording, damage, clean_mel=given == CLEAN)
        before, after = result.nats_per_sample(result.before), result.nats_per_sample(result.after)
        surprise = float(result.after.energy.mean())
        shown = [
            number("Nats per sample", after, f"{after:.2f}", f"{before:.2f} before the damage"),
            number("Bits per sample", bits_per_sample(after), f"{bits_per_sample(after):.2f}",
                   f"{bits_per_sample(before):.2f} before"),
            number("Change", after - before, f"{after - before:+.2f}", "nats per sample"),
            number("Surprise", surprise, f"{surprise:.2f}", "1 is as expected of speech"),
        ]  # fmt: skip
        return pcm(result.sample_rate, result.damaged), shown, drawing.likelihood_plot(result, Look(narrow, dark))

    @answer
    def score_files(files: list[str] | None) -> str:
        """Scores of several recordings as an HTML table; one that cannot be scored says why."""
        if not files:
            raise AudioError("Choose recordings first")
        if len(files) > MOST_FILES:
            raise AudioError(f"{len(files)} recordings are more than the {MOST_FILES} allowed at a time")
        rows = []
        for file in files:
            name = Path(file).name
            try:
                seconds, nats = service.score(file)
                rows.append([name, f"{seconds:.1f}", f"{nats:.3f}", f"{bits_per_sample(nats):.3f}"])
            except FlowVocoderError as error:
                rows.append([f"{name}: {str(error).removeprefix(f'{name}: ')}", "", "", ""])
        return table(["recording", "s", "nats/sample", "bits/sample"], rows, numeric=3)

    settings = [recording, noise, clip, gap, band, given, *page.look]
    done = tab.on_click(button, score, settings, [damaged, figures, drawn], api_name="score", **MODEL_WORK)
    fill(both, recording, damaged, after=done)
    many.click(score_files, files, scores, api_name="score_files", **MODEL_WORK)
