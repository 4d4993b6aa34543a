"""Text to speech."""

from typing import Any

import gradio as gr

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
    postfilter_slider,
    seed_input,
    temperature_slider,
    verdict,
)
from flowvocoder.demo.service import MOST_CHARACTERS, Service
from flowvocoder.text.limits import FASTEST, SLOWEST

PLACE = 3

LEAD = """An acoustic model turns English text into a mel, and the vocoder turns the mel into speech."""
EXAMPLE = "Hello there. This was spoken by a normalizing flow."
MISSING = "No acoustic model is installed on this server. On it, run: pip install 'flowvocoder[say]'"


def build(service: Service, page: Page) -> None:
    with page.tab("Say", LEAD) as tab:
        with tab.inputs():
            if not service.says:
                gr.HTML(verdict(MISSING, "bad"))
            text = gr.Textbox(EXAMPLE, label="Text", lines=3, max_lines=8, max_length=MOST_CHARACTERS)
            speed = gr.Slider(SLOWEST, FASTEST, 1, step=0.05, label="Speed", info="Speaking rate; 1 is the model's own")
            temperature = temperature_slider(service.vocoder.temperature)
            gl_iters = postfilter_slider(service.vocoder.gl_iters)
            seed = seed_input()
            button = gr.Button("Say", variant="primary", interactive=service.says)
        with tab.results("Write a sentence, and press Say."):
            spoken = player("Speech")
            figures = numbers()
            drawn = plot("The mel")

    @answer
    def say(text: str, speed: float, temperature: float, seed: int, gl_iters: int, narrow: bool, dark: bool) -> Any:
        """A text to speech. Returns the speech, figures, and a plot of the mel."""
        result = service.say(text, speed, temperature, seed, gl_iters)
        shown = [
            number("Text to mel", result.text_seconds, f"{result.text_seconds:.2f} s", "by the acoustic model"),
            number("Mel to speech", result.times_real_time, f"{result.times_real_time:.1f} ×", "real time, the flow"),
            number("Length", result.seconds, f"{result.seconds:.1f} s", f"{result.mel.shape[-1]} frames"),
        ]
        mel = drawing.mel_plot(result.mel.double().numpy(), result.seconds, Look(narrow, dark))
        return pcm(result.sample_rate, result.samples), shown, mel

    tab.on_click(
        button,
        say,
        [text, speed, temperature, seed, gl_iters, *page.look],
        [spoken, figures, drawn],
        api_name="say",
        **MODEL_WORK,
    )
