"""Flows fitted while one watches."""

from collections.abc import Iterator
from typing import Any

import gradio as gr

from flowvocoder.demo import fitting, panels
from flowvocoder.demo.canvas import Look
from flowvocoder.demo.fitting import Fitted
from flowvocoder.demo.inputs import seed as checked_seed
from flowvocoder.demo.page import Page
from flowvocoder.demo.parts import (
    MODEL_WORK,
    PRIVATE,
    answer,
    answer_in_pieces,
    number,
    numbers,
    plot,
    seed_input,
    verdict,
)
from flowvocoder.demo.service import Service
from flowvocoder.density import FAMILIES
from flowvocoder.density.training import EVERY
from flowvocoder.errors import ConfigError

PLACE = 10

LEAD = """The voice is one of many normalizing flows. Here you fit any of eleven families to points in the plane, on a
roll in space, or to images of digits. Watch the density grow towards the data, and the likelihood of rows that were
held out. Then draw samples, and see how the layers bend a grid of noise into the data, or one digit into another."""

FIT_WORK: dict[str, Any] = {"concurrency_id": "fit", "concurrency_limit": 1}
"""One fit at a time, so that the voices do not wait for it."""

SAMPLES = 2000


def build(service: Service, page: Page) -> None:
    with page.tab("Flows", LEAD) as tab:
        with tab.inputs():
            family = gr.Dropdown([(f"{name}: {family.title}", name) for name, family in FAMILIES.items()],
                                 value="nsf-c", label="Family", filterable=False)  # fmt: skip
            name = gr.Dropdown(
                list(fitting.SHOWN),
                value="two-moons",
                label="Set",
                filterable=False,
                info=f"Digits are images for {' and '.join(fitting.IMAGES)}, 64 numbers for others",
            )
            rows = gr.Slider(fitting.FEWEST_ROWS, fitting.MOST_ROWS, 2000, step=100, label="Rows",
                             info="A tenth of them is held out; there are 1348 digits")  # fmt: skip
            steps = gr.Slider(fitting.FEWEST_STEPS, fitting.MOST_STEPS, 800, step=50, label="Steps",
                              info=f"At most; a fit ends after {fitting.MOST_SECONDS:.0f} s")  # fmt: skip
            seed = seed_input()
            button = gr.Button("Fit", variant="primary")
            with gr.Row():
                stop, draw = gr.Button("Stop", min_width=90), gr.Button("Sample", min_width=90)
        with tab.results("Choose a family and a set, and press Fit."):
            figures = numbers()
            said = gr.HTML(verdict("", "idle"))
            drawn = plot("The fit")
            sampled = plot("Samples and the latent", visible=False)
        fitted = gr.State(None, time_to_live=3600)

    @answer_in_pieces
    def fit(family: str, name: str, rows: float, steps: float, seed: float, narrow: bool, dark: bool) -> Iterator[Any]:
        """A family of flows fitted to rows of a set, again and again while it is fitted.

        Returns figures, a sentence, and a plot of the data, the density or samples, and the nats.
        """
        for state in fitting.fit(family, name, rows, steps, seed):
            said = verdict(f"{state.ending} Press Sample.") if state.ending else verdict("It is being fitted.", "idle")
            yield state, *_shown(state, said, Look(narrow, dark))

    @answer
    def sample(fitted: Fitted | None, seed: float, narrow: bool, dark: bool) -> Any:
        """New rows of the density that was fitted last, and what its layers do.

        Returns a plot of samples, of the data's latent, and of a grid on its way from the noise to the data; of images,
        of the way from one to another.
        """
        if fitted is None:
            raise ConfigError("There is no density to sample: press Fit")
        rows = fitted.density.sample(SAMPLES, random_state=checked_seed(seed) % 2**32)
        return gr.Image(panels.sample_plot(fitted, rows, Look(narrow, dark)), visible=True)

    @answer
    def stopped(fitted: Fitted | None, narrow: bool, dark: bool) -> Any:
        if fitted is None:
            return gr.skip(), verdict(f"Stopped before the first look at step {EVERY}: press Fit.", "idle"), gr.skip()
        if fitted.ending:
            return [gr.skip()] * 3
        # The page may not have been shown the last look any more.
        return _shown(fitted, verdict(f"Stopped after step {fitted.last.step}. Press Sample."), Look(narrow, dark))

    def cleared() -> Any:
        """Nothing of an earlier fit stays, since the first look may take seconds."""
        return [], verdict("It is being fitted.", "idle"), None, gr.Image(None, visible=False)

    # Digits by what is made for images, unless the visitor then chooses another family.
    name.input(lambda name: "glow" if name == "digits" else gr.skip(), name, family, queue=False, **PRIVATE)
    fits = tab.on_click(
        button,
        fit,
        [family, name, rows, steps, seed, *page.look],
        [fitted, figures, said, drawn],
        kept=fitted,
        show_progress_on=drawn,
        api_name="fit_flow",
        **FIT_WORK,
    )
    button.click(cleared, None, [figures, said, drawn, sampled], queue=False, **PRIVATE)
    stop.click(None, cancels=[fits], queue=False, **PRIVATE)
    fits.then(stopped, [fitted, *page.look], [figures, said, drawn], show_progress="hidden", queue=False, **PRIVATE)
    draw.click(sample, [fitted, seed, *page.look], sampled, api_name="sample_flow", **MODEL_WORK)


def _shown(fitted: Fitted, said: str, look: Look) -> tuple[Any, ...]:
    """Figures, a sentence and a plot."""
    return _figures(fitted), said, panels.fit_plot(fitted, look)


def _figures(fitted: Fitted) -> list[dict[str, Any]]:
    last = fitted.last
    truth = "nats, the best so far" if fitted.data.truth is None else f"nats; the truth has {fitted.data.truth:.2f}"
    return [
        number("Held out", fitted.best, f"{fitted.best:.3f}", truth),
        number("Trained on", last.nats, f"{last.nats:.3f}", "nats, at the last look"),
        number("Step", last.step, str(last.step), f"of at most {last.steps}"),
        number("Time", fitted.seconds, f"{fitted.seconds:.1f} s", "on this server"),
    ]
