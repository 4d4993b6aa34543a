"""Blind listening: which of two is better, and a tally."""

import random
from typing import Any

import gradio as gr

from flowvocoder.demo import drawing
from flowvocoder.demo.canvas import Look
from flowvocoder.demo.page import Page
from flowvocoder.demo.parts import MODEL_WORK, PRIVATE, answer, pcm, player, plot, recording_input, table, verdict
from flowvocoder.demo.service import Service
from flowvocoder.demo.switch import fill, switch
from flowvocoder.errors import ConfigError

PLACE = 7

LEAD = """A blind test. The page plays two versions of one recording, drawn from the systems that you tick. Vote for the
better one to see which was which. Start the demo with several `--checkpoint` to compare your own."""

FIRST, SECOND, NEITHER = "A", "B", "neither"


def build(service: Service, page: Page) -> None:
    with page.tab("Compare", LEAD) as tab:
        with tab.inputs():
            recording = recording_input()
            systems = gr.CheckboxGroup(service.systems, value=service.systems, label="Systems in the draw")
            button = gr.Button("New pair", variant="primary")
            tally_table = gr.HTML()
        with tab.results("Press New pair, listen to both, and vote."):
            both = switch(FIRST, SECOND)
            with gr.Row():
                a, b = player("A"), player("B")
            with gr.Row():
                labels = {FIRST: "A is better", NEITHER: "No difference", SECOND: "B is better"}
                votes = {choice: gr.Button(label, min_width=90) for choice, label in labels.items()}
            said = gr.HTML(verdict("Listen to both, then vote.", "idle"))
            drawn = plot("Both spectrograms", visible=False)
        # Kept on the server: the page does not know the names before the vote.
        pair, tally = gr.State(None, time_to_live=3600), gr.State({}, time_to_live=3600)

    @answer
    def draw(recording: str | None, systems: list[str]) -> Any:
        """Two of the systems, in random order, say a recording. Returns A, B, and what hides their names."""
        if len(set(systems or [])) < 2:
            raise ConfigError("Choose at least two systems to compare")
        names = tuple(random.sample(sorted(set(systems)), 2))
        spoken = [service.speak(name, recording, seed=0) for name in names]
        return pcm(*spoken[0]), pcm(*spoken[1]), names, verdict("Listen to both, then vote.", "idle")

    def voter(choice: str) -> Any:
        @answer
        def vote(
            names: tuple[str, str] | None,
            tally: dict[str, list[int]],
            a: str | None,
            b: str | None,
            narrow: bool,
            dark: bool,
        ) -> Any:
            if names is None:
                raise ConfigError("There is no pair to vote on: press New pair")
            counted = {name: list(counts) for name, counts in tally.items()}
            for side, name in zip((FIRST, SECOND), names, strict=True):
                counts = counted.setdefault(name, [0, 0, 0])  # better, equal, worse
                counts[1 if choice == NEITHER else 0 if choice == side else 2] += 1
            words = f"You said {choice} sounds better." if choice != NEITHER else "You heard no difference."
            answered = verdict(f"{words} A was {names[0]}, B was {names[1]}.")
            look, samples = Look(narrow, dark), (service.samples(a), service.samples(b))
            spectrograms = drawing.comparison(*samples, service.spec.sample_rate, names, look)
            return None, counted, answered, _tally(counted), gr.Image(spectrograms, visible=True)

        return vote

    drawing_pair = tab.on_click(button, draw, [recording, systems], [a, b, pair, said], api_name="pair", **MODEL_WORK)
    drawing_pair.then(lambda: gr.Image(None, visible=False), None, drawn, queue=False, **PRIVATE)
    fill(both, a, b, after=drawing_pair)
    for choice, vote_button in votes.items():
        vote_button.click(
            voter(choice), [pair, tally, a, b, *page.look], [pair, tally, said, tally_table, drawn], **PRIVATE
        )


def _tally(counted: dict[str, list[int]]) -> str:
    rows = [[name, *map(str, counts)] for name, counts in sorted(counted.items(), key=lambda item: -item[1][0])]
    return table(["your votes", "better", "equal", "worse"], rows, numeric=3)
