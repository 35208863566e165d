"""Trans-Encoder: what each round learns of whom, where it begins, and what a checkpoint of it scores."""

from collections.abc import Sequence

import lightning as L
import pytest
import torch
from torch.nn import functional as F

import data.checkpoints
from common.batches import GradedPairs
from common.encoders.cross import flat
from common.errors import UserError
from common.training.stages import Stages
from data.slot_language import vocabulary
from harness.recipes import catalog, recipe
from papers.sentence.trans_encoder.module import TransEncoder
from papers.sentence.trans_encoder.properties import least_at_the_label, no_least_below_zero

assert data.checkpoints
WORDS = vocabulary()
FIRST = [" ".join(WORDS[at : at + 4]) for at in range(0, 24, 4)]
SECOND = [" ".join(WORDS[at : at + 3]) for at in range(8, 26, 3)]
BATCH = GradedPairs(FIRST, SECOND, torch.tensor([0.0, 1, 2, 3, 4, 5]), torch.arange(6))


def silent(rounds: Sequence[str] = ("cross", "bi"), **arguments) -> TransEncoder:
    torch.manual_seed(0)
    lengths = [1] * (len(rounds) + 1)
    given = {"encoder": "slot-bert", "pooling": "mean", "dropout": 0.0, "pair_length": 32, "temperature": 0.1}
    return TransEncoder(rounds=rounds, lengths=lengths, **given | arguments).train()


def orders(method: TransEncoder, batch: GradedPairs, stage: int = 1) -> tuple[float, list[tuple[str, str]]]:
    """The loss of a cross-encoder's round, and the pairs as it was given them."""
    seen: list[tuple[str, str]] = []
    forward = method.models[0].cross.forward
    method.models[0].cross.forward = lambda a, b: seen.extend(zip(a, b, strict=True)) or forward(a, b)
    loss = float(method.round_loss(stage, batch).detach())
    method.models[0].cross.forward = forward
    return loss, seen


def cross_entropy(method: TransEncoder, pairs: list[tuple[str, str]], y: torch.Tensor) -> float:
    p = torch.stack([method.models[0].cross([a], [b])[0].sigmoid() for a, b in pairs]).detach().double()
    return float((-y * p.log() - (1 - y) * (1 - p).log()).mean())


def test_the_first_loss_is_simcse_of_one_side() -> None:
    method = silent()
    rows = F.normalize(method.models[0].bi(FIRST), dim=1).detach().double()
    logits = rows @ rows.T / 0.1
    expected = float((logits.exp().sum(dim=1).log() - logits.diagonal()).mean())
    assert method.first_loss(BATCH).item() == pytest.approx(expected, rel=1e-4)


def test_a_cross_encoder_learns_the_cosines_in_either_order() -> None:
    method = silent()
    loss, seen = orders(method, BATCH)
    either = [(pair == (a, b), pair == (b, a)) for pair, a, b in zip(seen, FIRST, SECOND, strict=True)]
    assert all(one or other for one, other in either) and {one for one, _ in either} == {True, False}
    y = F.cosine_similarity(method.models[0].bi(FIRST), method.models[0].bi(SECOND)).detach().double()
    assert loss == pytest.approx(cross_entropy(method, seen, y), rel=1e-4)
    # Of a larger batch it may take a part.
    assert len(orders(silent(cross_batch=2), BATCH)[1]) == 2


def test_a_bi_encoder_learns_the_scores_of_the_cross_encoder() -> None:
    method = silent()
    bi, cross = method.models[0].bi, method.models[0].cross
    y = torch.stack([cross([a], [b])[0].sigmoid() for a, b in zip(FIRST, SECOND, strict=True)])
    cosines = [float(F.cosine_similarity(bi([a]), bi([b])).detach()) for a, b in zip(FIRST, SECOND, strict=True)]
    expected = sum((cos - float(score.detach())) ** 2 for cos, score in zip(cosines, y, strict=True)) / 6
    loss = method.round_loss(2, BATCH)
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    loss.backward()
    assert all(parameter.grad is None for parameter in cross.parameters())


def test_labels_that_are_others() -> None:
    right = silent().targets("bi", "cross", BATCH)
    shuffled = silent(labels="shuffled").targets("bi", "cross", BATCH)
    assert not shuffled.equal(right) and shuffled.sort().values.equal(right.sort().values)
    assert silent(labels="grades").targets("bi", "cross", BATCH).tolist() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    with pytest.raises(UserError, match="the pairs have none"):
        silent(labels="grades").targets("bi", "cross", BATCH._replace(grades=torch.full((6,), -1.0)))
    # They are those of the cross-encoder alone.
    for labels in ("shuffled", "grades"):
        expected = silent().targets("cross", "bi", BATCH)
        torch.testing.assert_close(silent(labels=labels).targets("cross", "bi", BATCH), expected)


def test_two_models_teach_each_other_by_their_mean() -> None:
    method = silent(encoder=["slot-bert", "slot-bert"])
    for model, shift in zip(method.models, (0.0, 0.02), strict=True):
        for parameter in model.parameters():
            parameter.data += shift * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    for teacher, student in (("bi", "cross"), ("cross", "bi")):
        said = [model.labels(teacher, student, FIRST, SECOND) for model in method.models]
        assert not torch.allclose(*said, atol=1e-4)
        torch.testing.assert_close(method.targets(teacher, student, BATCH), (said[0] + said[1]) / 2)
    y = method.targets("cross", "bi", BATCH)
    each = [(model.cosines(FIRST, SECOND) - y).square().mean() for model in method.models]
    torch.testing.assert_close(method.round_loss(2, BATCH), sum(each))
    one, other = (silent().first_loss(BATCH._replace(first=side)) for side in (FIRST, SECOND))
    torch.testing.assert_close(silent(encoder=["slot-bert"] * 2).first_loss(BATCH), one + other)


class Watch(L.Callback):
    """The bi-encoder's weights and the number of tensors that the optimizer knows, at the start of every step."""

    def __init__(self) -> None:
        self.bi: list[torch.Tensor] = []
        self.known: list[int] = []

    def on_before_zero_grad(self, trainer: L.Trainer, module: TransEncoder, optimizer: torch.optim.Optimizer) -> None:
        self.bi.append(flat(module.models[0].bi))
        self.known.append(len(optimizer.state))


@pytest.mark.parametrize("rounds", [["cross", "bi"], ["bi", "bi"]])
def test_rounds_follow_each_other(rounds: list[str]) -> None:
    card = catalog.find("trans_encoder")
    config = recipe.arm_config(card, card.experiment("slots"), "cycle")
    config["model"]["init_args"] |= {"rounds": rounds, "lengths": [2, 1, 2], "dropout": 0.0}
    config["data"]["init_args"] |= {"train_size": 64, "batch_size": 8}
    config["trainer"] = {"max_steps": 5, "accelerator": "cpu"}
    watch = Watch()
    trainer, method, benchmark = recipe.build(recipe.with_seed(config, 0), callbacks=(watch,))
    trainer.fit(method, benchmark)
    model = method.models[0]
    start = watch.bi[2]  # before the third step
    torch.testing.assert_close(model.bi_start, start)
    bi = len(list(model.bi.parameters()))
    if model.cross is not None:
        cross = len(list(model.cross.parameters()))
        # It is not trained meanwhile, and begins anew, with an optimizer that knows nothing of it.
        torch.testing.assert_close(watch.bi[3], start)
        assert watch.known == [0, bi, bi, cross, bi + cross]
    else:
        assert watch.known == [0, bi, 0, 0, bi] and rounds[0] == "bi"
        # Its own cosines are no news to a bi-encoder that begins where its teacher stood: without dropout it stays.
        torch.testing.assert_close(watch.bi[3], start)
    assert not torch.allclose(flat(model.bi), model.bi_start) or rounds[0] == "bi"


def test_pairs_are_scored_by_the_cross_encoder_where_there_is_one() -> None:
    for rounds, teacher in ((["cross", "bi"], "cross"), ([], "bi")):
        method = silent(rounds)
        expected = method.models[0].labels(teacher, "cross", FIRST, SECOND)
        torch.testing.assert_close(method.score_text_pairs(FIRST, SECOND), expected)
        torch.testing.assert_close(method.embed_text(FIRST), method.models[0].bi.embed(FIRST))


def test_rates_are_those_of_the_rounds() -> None:
    method = silent(lr=1.0, cross_lr=0.1, bi_lr=0.01, warmup=0.5, schedule="linear")
    factor = method.rate_factor(12)
    assert [factor(step) for step in (0, 4, 5, 6, 8)] == pytest.approx([1, 0.05, 0.1, 0.1, 0.01])
    assert method.stages.ends == Stages([1, 1, 1], 12).ends


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"labels": "gold"}, "model.labels is 'gold'; it must be one of scores, shuffled, grades"),
        ({"rounds": ["cross", "cross"]}, "no two 'cross' meet"),
        ({"rounds": ["tri"]}, "each is 'bi' or 'cross'"),
        ({"bi_lr": 0.0}, "model.bi_lr 0.0: expected"),
    ],
)
def test_what_is_out_of_range_is_refused(arguments: dict, says: str) -> None:
    with pytest.raises(UserError, match=says):
        silent(**arguments)
    with pytest.raises(UserError, match="lengths has 2 entries; 2 rounds and SimCSE have one each"):
        TransEncoder(encoder="slot-bert", lengths=[1, 1])


def test_the_properties_hold() -> None:
    assert least_at_the_label(0) < 1e-12 and no_least_below_zero(0) < 1e-12
