"""`train`."""

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from flowvocoder.cli.command import Command
from flowvocoder.cli.common import set_machine
from flowvocoder.cli.options import add_machine, add_settings, folder, positive, positive_int
from flowvocoder.config import Experiment, PostfilterConfig, override, with_trained_network
from flowvocoder.errors import ConfigError, TrainingError
from flowvocoder.presets import DEFAULT_PRESET, PRESETS, experiment_from_dict, preset, stated_mel
from flowvocoder.voice_card import VoiceCard, checkpoint_folder

if TYPE_CHECKING:
    from flowvocoder.training.trainer import Trainer


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--corpus", metavar="DATA", type=Path, action="append", required=True,
                        help="folder of audio or in LJSpeech layout, manifest (.jsonl), or folder of shards; may be"
                        " repeated")  # fmt: skip
    parser.add_argument("--preset", help=f"{', '.join(PRESETS)} (default {DEFAULT_PRESET}; with --resume: the run's)")
    parser.add_argument("--out", metavar="RUN", type=folder, required=True, help="run folder")
    parser.add_argument("--resume", action="store_true", help="continue the run in RUN with its own settings")
    parser.add_argument("--init-from", metavar="CHECKPOINT", type=checkpoint_folder,
                        help="initial weights, their sizes and, unless --set mel= or the preset (-22k-, -24k-)"
                        " names another, their mel")  # fmt: skip
    add_settings(parser, "override a setting: lr=5e-4, steps=1000, model.channels=96, mel=hifigan")
    parser.add_argument("--max-steps", metavar="N", type=positive_int,
                        help="save and stop after step N; with --find-lr: its number of steps")  # fmt: skip
    parser.add_argument("--max-minutes", metavar="M", type=positive, help="save and stop after M minutes")
    parser.add_argument("--find-lr", action="store_true",
                        help="only a learning-rate range test: prints a rate, plots RUN/learning_rate.png")  # fmt: skip
    parser.add_argument("--licence", help="licence of the weights, recorded in the checkpoint")
    add_machine(parser)


def run(arguments: argparse.Namespace) -> int:
    """Train, or continue a run; on one process, or on those that torchrun started."""
    from flowvocoder.files import readable_folder
    from flowvocoder.training.another_mel import guide_keeps
    from flowvocoder.training.distributed import DistributedContext
    from flowvocoder.training.folder import STATE, resumes
    from flowvocoder.training.state import saved_experiment
    from flowvocoder.training.trainer import Trainer

    state = readable_folder(arguments.out / STATE)
    saved = saved_experiment(state) if state.exists() and resumes(arguments.out, arguments.resume) else None
    start = arguments.init_from if saved is None else None  # a run that continues has its weights
    planned = _planned(arguments.preset, start, saved)
    mel = None if start is None else stated_mel(arguments.preset or DEFAULT_PRESET)
    named = planned if mel is None else dataclasses.replace(planned, mel=mel)
    experiment = override(named, arguments.settings)
    another_mel = start is not None and experiment.mel != planned.mel and experiment.train.stage == "flow"
    if another_mel and experiment.postfilter is not None:  # the refiner is trained for its mel
        guide = experiment.postfilter.of("guide")
        stays = guide and guide_keeps(experiment.mel, planned.mel)
        experiment = dataclasses.replace(experiment, postfilter=PostfilterConfig(**guide) if stays else None)
    if experiment.train.stage != "flow" and start is None and saved is None:
        stage = experiment.train.stage
        raise ConfigError(f"stage {stage} starts from a trained flow: name its checkpoint by --init-from")
    processes = DistributedContext.join(str(set_machine(arguments)))
    try:
        trainer = Trainer(
            experiment,
            arguments.corpus,
            arguments.out,
            arguments.resume,
            start,
            arguments.licence,
            processes,
        )
        if arguments.find_lr:
            return _find_lr(trainer, arguments)
        if processes.is_main:
            if another_mel:
                change = planned.mel.difference(experiment.mel)
                print(f"{start}: has another mel: {change}. What reads it is re-expressed", file=sys.stderr)
            _say_what_is_special(trainer, arguments)
        trainer.run(arguments.max_steps, arguments.max_minutes)
    except RuntimeError as error:
        if processes.size == 1:
            raise
        # Without this, every surviving process would print the traceback of whatever it was waiting in.
        first = str(error).strip().splitlines()[0]
        raise TrainingError(f"process {processes.rank} of {processes.size} cannot continue: {first}") from error
    processes.leave()
    if processes.is_main:
        _say_how_it_ended(trainer)
    # torchrun would take another code for a failure, and begin again.
    return 128 + trainer.stop_signal if trainer.stopped and trainer.stop_signal and processes.size == 1 else 0


def _say_how_it_ended(trainer: "Trainer") -> None:
    from flowvocoder.training.folder import BEST, CHECKPOINT

    voice, best = trainer.out / CHECKPOINT, trainer.out / BEST
    if trainer.stopped:
        how = "--resume --set patience=0" if trainer.stopped.startswith("stopped early") else "--resume"
        print(f"{trainer.stopped} at step {trainer.step}: saved, {how} continues", file=sys.stderr)
    else:
        print(f"{trainer.out}: step {trainer.step} of {trainer.config.optim.steps}", file=sys.stderr)
    if not voice.is_dir():
        return  # stopped before the first step
    print(f"to hear it: flowvocoder resynth RECORDING OUT.wav --checkpoint {voice}", file=sys.stderr)
    if best.is_dir() and trainer.config.stage == "flow":
        print(f"the weights that fitted the held-out recordings best: {best}", file=sys.stderr)


def _planned(name: str | None, start: Path | None, saved: Experiment | None) -> Experiment:
    """The experiment to train: the preset, or the saved one where a run resumes without a preset.

    Sizes and mel are those of the run, or of the checkpoint to start from, if it has the preset's architecture. So are
    its sampling settings, except for those that the preset trains.
    """
    from flowvocoder.checkpoint import read_config

    if saved is not None and name is None:
        return saved
    planned = preset(name or DEFAULT_PRESET)
    known = saved
    if start is not None:
        values = read_config(start)
        if values["model"].get("architecture") != planned.model.architecture:
            return planned  # the trainer refuses it
        tuned = VoiceCard.from_dict(values["card"]).sampling
        known = experiment_from_dict({**values, "train": {"sampling": tuned}})
    if known is None or known.model.architecture != planned.model.architecture:
        return planned
    train = planned.train
    if train.stage != "guide":
        sampling = known.train.sampling
        if train.draws_samples and train.stage != "refiner":
            sampling = dataclasses.replace(sampling, temperature=train.sampling.temperature)
        train = dataclasses.replace(train, sampling=sampling)
    networks = with_trained_network(train.stage, known.postfilter, planned.postfilter)
    return dataclasses.replace(planned, model=known.model, mel=known.mel, train=train, postfilter=networks)


def _find_lr(trainer: "Trainer", arguments: argparse.Namespace) -> int:
    from flowvocoder.training.folder import LOG
    from flowvocoder.training.range_test import find_learning_rate
    from flowvocoder.training.schedule import RangeTest

    plot = arguments.out / "learning_rate.png"
    suggestion = find_learning_rate(trainer, RangeTest(steps=arguments.max_steps or RangeTest.steps), plot)
    if trainer.processes.is_main:
        if not arguments.resume:
            (arguments.out / LOG).unlink()  # of steps that no run has taken
        if suggestion is None:
            print(f"the loss never fell: no suggestion; see {plot}")
        else:
            print(f"suggested: --set lr={suggestion:.1e}; the curve is in {plot}")
    trainer.processes.leave()
    return 0


def _say_what_is_special(trainer: "Trainer", arguments: argparse.Namespace) -> None:
    if arguments.resume and trainer.step == 0:
        print(f"{arguments.out}: nothing to resume: a new run starts", file=sys.stderr)
    if trainer.since:
        print(f"{arguments.out}: what its optimiser remembered is not there: continues from the averaged weights of"
              f" step {trainer.step}, and warms up", file=sys.stderr)  # fmt: skip
    if trainer.changed:
        print(f"{arguments.out}: continues with other settings: {trainer.changed}", file=sys.stderr)
    if trainer.step >= trainer.config.optim.steps:
        print(f"{arguments.out}: has all of its {trainer.step} steps already", file=sys.stderr)
    if not trainer.validation.items:
        print("no held-out recording: no validation, no best/ checkpoint", file=sys.stderr)
    if trainer.sampler.voices > len(trainer.names):
        print(f"{trainer.sampler.voices} speakers to train on", file=sys.stderr)
    for change, count in trainer.sampler.changes.items():
        print(f"{count} {'recording' if count == 1 else 'recordings'} to train on: {change}", file=sys.stderr)
    skipped = trainer.sampler.skipped
    if skipped:
        shown = ", ".join(skipped[:5]) + (", ..." if len(skipped) > 5 else "")
        print(f"{len(skipped)} recordings are shorter than a segment and left out: {shown}", file=sys.stderr)


COMMAND = Command("train", "train a vocoder on your recordings", options, run)
