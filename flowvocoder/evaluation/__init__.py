"""Objective quality of vocoded speech: what is measured, on what, against what, and how sure the means are."""

from flowvocoder.evaluation.checkpoint import Settings, evaluate_checkpoint
from flowvocoder.evaluation.measures.block_tones import measure_block_tones
from flowvocoder.evaluation.pair import evaluate_pair
from flowvocoder.evaluation.results import Evaluation

__all__ = ["Evaluation", "Settings", "evaluate_checkpoint", "evaluate_pair", "measure_block_tones"]
