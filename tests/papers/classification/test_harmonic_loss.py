"""Harmonic loss: the released networks, HarMax as it is written, large exponents, and the same on several processes."""

import pytest
import torch
from torch import nn

from common.batches import LabelledVectors, NumberQuestions
from common.errors import UserError
from papers.classification.harmonic_loss.distances import column_size, harmonic_logits
from papers.classification.harmonic_loss.module import HarmonicClassifier, HarmonicLoss
from tests.golden.recorded import Case, load, summary
from tests.processes import assert_steps_agree

RELEASED = [case for case in load() if case.name.startswith("harmonic_loss/")]
QUESTIONS = NumberQuestions(
    torch.tensor([[0, 1], [2, 3], [6, 6], [5, 1], [4, 0], [3, 3], [1, 1], [2, 6]]),
    torch.tensor([1, 5, 5, 6, 4, 6, 2, 1]),
    torch.arange(8),
)


def module(**arguments) -> HarmonicLoss:
    torch.manual_seed(0)
    made = HarmonicLoss(**{"symbols": 7, "embedding_dim": 5, "hidden_dim": 8, **arguments}).double()
    made.log_loss = lambda loss, **terms: loss  # without a trainer there is no log
    return made


@pytest.mark.parametrize("case", RELEASED, ids=lambda case: case.name)
def test_the_released_network_has_this_loss_and_gradient(case: Case) -> None:
    softmax = case.name.endswith("softmax")
    kind = {"output": "softmax", "bias": True} if softmax else {"exponent": case.arguments["exponent"]}
    method, inputs, given = module(penalty=0.01, **kind), case.inputs(), case.constants()
    names = {"symbols": "symbols", "hidden": "body.0.weight", "hidden_bias": "body.0.bias"}
    names |= {"out": "body.2.weight", "out_bias": "body.2.bias", "bias": "bias"}
    method.load_state_dict({names[name]: value.detach() for name, value in inputs.items()})
    value = method.training_step(NumberQuestions(given["given"], given["answer"], torch.arange(6)), 0)
    value.backward()
    assert value.item() == pytest.approx(case.value, rel=1e-10)
    for name, recorded in case.gradients.items():
        for part, ours in summary(method.get_parameter(names[name]).grad).items():
            assert ours == pytest.approx(recorded[part], rel=1e-8, abs=1e-9 * recorded["norm"]), (name, part)


def test_probabilities_are_powers_of_distances() -> None:
    draw = torch.Generator().manual_seed(0)
    x, centres = (torch.randn(n, 4, generator=draw, dtype=torch.double) for n in (6, 3))
    found = harmonic_logits(x, centres, exponent=1.5, eps=0.01).softmax(dim=1)
    for i in range(6):
        powers = [(float((x[i] - centre).square().sum()) + 0.01) ** -1.5 for centre in centres]
        expected = torch.tensor([power / sum(powers) for power in powers], dtype=torch.double)
        torch.testing.assert_close(found[i], expected, rtol=1e-12, atol=0)


def test_large_exponents_and_centres_that_are_met_stay_finite() -> None:
    centres = torch.randn(5, 16).requires_grad_()
    x = torch.cat([centres.detach(), 100 * torch.randn(5, 16)])
    labels = torch.arange(5).repeat(2)
    loss = nn.functional.cross_entropy(harmonic_logits(x, centres, exponent=768.0), labels)
    (gradient,) = torch.autograd.grad(loss, centres)
    assert loss.isfinite() and gradient.isfinite().all()
    at_centres = harmonic_logits(x[:5], centres, exponent=16.0)
    assert (at_centres.argmax(dim=1) == labels[:5]).all()


def test_under_autocast_the_nearest_centre_still_wins() -> None:
    draw = torch.Generator().manual_seed(0)
    centres = 3 + 0.3 * torch.randn(7, 64, generator=draw)
    x = centres + 0.05 * torch.randn(7, 64, generator=draw)
    plain = harmonic_logits(x, centres, exponent=8.0)
    with torch.autocast("cpu", torch.bfloat16):
        found = harmonic_logits(x.bfloat16().float(), centres, exponent=8.0)
        rounded = harmonic_logits(x.bfloat16(), centres.bfloat16(), exponent=8.0)
    assert found.dtype == rounded.dtype == torch.float32 and (found.argmax(dim=1) == torch.arange(7)).all()
    torch.testing.assert_close(found, plain, rtol=0.05, atol=0.1)


def test_arms_differ_in_their_logits_alone() -> None:
    given = QUESTIONS.given
    harmonic, distance, softmax = (module(output=kind) for kind in ("harmonic", "distance", "softmax"))
    for other in (distance, softmax):
        assert all(torch.equal(a, b) for a, b in zip(harmonic.parameters(), other.parameters(), strict=True))
    x, table = harmonic.body(harmonic.symbols[given].flatten(1)), harmonic.symbols
    squares = (x[:, None] - table).square().sum(dim=2)
    torch.testing.assert_close(softmax.number_logits(given), x @ table.T)
    torch.testing.assert_close(distance.number_logits(given), -squares)
    torch.testing.assert_close(harmonic.number_logits(given), -(squares + 1e-4).log())
    assert torch.equal(harmonic.embed_symbols(), table)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"symbols": 5}, r"model.symbols is 5; the data have a symbol 6, from 0 on"),
        ({"given": 3}, r"model.given is 3; a question of the data has 2"),
    ],
)
def test_questions_that_do_not_fit_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        module(**arguments).training_step(QUESTIONS, 0)


def test_an_untied_table_is_trained_beside_the_other() -> None:
    method = module(tied=False, penalty=0.0)
    method.training_step(QUESTIONS, 0).backward()
    assert method.answers.grad.any() and method.symbols.grad.any() and method.answers.shape == (7, 5)


def test_the_size_of_columns_counts_those_that_are_used() -> None:
    table = torch.zeros(4, 5)
    table[:, 1], table[:, 3] = 2.0, torch.tensor([1.0, -1.0, 1.0, -1.0])
    assert column_size(table) == pytest.approx((2 + 1) / 5)


def test_the_classifier_scores_as_it_is_trained() -> None:
    torch.manual_seed(0)
    method = HarmonicClassifier(classes=3, encoder="vector_tower", channels=6, width=4, exponent=2.0).double()
    method.log_loss = lambda loss, **terms: loss
    x, labels = torch.rand(8, 6, dtype=torch.double), torch.arange(8) % 3
    loss = method.training_step(LabelledVectors(x[None], labels, torch.arange(8)), 0)
    z, centres = method.encoder(x), method.classifier.weight
    powers = ((z[:, None] - centres).square().sum(dim=2) + 1e-4) ** -2.0
    expected = -(powers / powers.sum(dim=1, keepdim=True)).log()[torch.arange(8), labels].mean()
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=0)
    torch.testing.assert_close(method.classify_vectors(x).softmax(dim=1), powers / powers.sum(dim=1, keepdim=True))
    assert method.classifier.bias is None


@pytest.mark.parametrize("cuts", [(0, 5, 8), (0, 2, 3, 7, 8)], ids=["two", "four"])
def test_processes_agree_with_one(cuts: tuple[int, ...]) -> None:
    def batch(own: slice) -> NumberQuestions:
        return NumberQuestions(*(column[own] for column in QUESTIONS))

    assert_steps_agree(cuts, lambda: module(penalty=0.1), batch)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(UserError, match=r"model\.exponent 0\.0: expected a finite number above 0"):
        module(exponent=0.0)
    with pytest.raises(UserError, match=r"model\.bias is true; distances"):
        module(bias=True)
