"""Our losses against the authors' own functions, by value and gradient, on inputs recorded once (tests/golden)."""

import pytest
import torch

import tests.golden.fusion
import tests.golden.graphs
import tests.golden.lists
import tests.golden.logits
import tests.golden.mined
import tests.golden.pairs
import tests.golden.speech
import tests.golden.steps
import tests.golden.tasks
import tests.golden.views
import tests.golden.word_vectors
import tests.golden.words  # noqa: F401  (they register our side)
from tests.golden.ours import OURS
from tests.golden.recorded import Case, load, summary

# Recorded for papers whose modules hold the loss; nothing in common.losses claims to be these.
FOR_PAPERS = {
    "core_tuning/step": "of mixtures, with the paper's own draws",
    "core_tuning/step_heavy": "of mixtures, with the paper's own draws",
    "core_tuning/step_alike": "of mixtures, with the paper's own draws",
    "dcl/one_way": "one view's anchors only; both_ways is the loss",
    "harmonic_loss/harmonic": "a classifier's",
    "harmonic_loss/harmonic_sharp": "a classifier's",
    "harmonic_loss/softmax": "a classifier's",
    "hcl/hard": "importance-weighted negatives",
    "metrix/embed_ancneg": "of mixtures, with the paper's own draws",
    "metrix/embed_posneg": "of mixtures, with the paper's own draws",
    "metrix/feature_ancneg": "of mixtures, with the paper's own draws",
    "metrix/feature_posneg": "of mixtures, with the paper's own draws",
}
CASES = load()


@pytest.mark.parametrize("case", [case for case in CASES if case.name in OURS], ids=lambda case: case.name)
def test_value_and_gradient_are_the_recorded_ones(case: Case) -> None:
    inputs = case.inputs()
    value = OURS[case.name](case, inputs, case.constants())
    gradients = torch.autograd.grad(value, [inputs[name] for name in case.gradients])
    tolerance = {"float64": 1e-9, "float32": 2e-5, "float32 on both sides": 2e-6}[case.precision]
    assert value.item() == pytest.approx(case.value, rel=tolerance, abs=tolerance)
    for recorded, gradient in zip(case.gradients.values(), gradients, strict=True):
        size = recorded["norm"]
        for name, ours in summary(gradient).items():
            assert ours == pytest.approx(recorded[name], rel=tolerance, abs=tolerance * size), name


def test_every_recording_is_compared_or_set_aside() -> None:
    recorded = {case.name for case in CASES}
    assert recorded == OURS.keys() | FOR_PAPERS.keys()
    assert not OURS.keys() & FOR_PAPERS.keys()
