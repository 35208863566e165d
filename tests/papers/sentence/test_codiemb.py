"""CoDiEmb: losses of two tasks, what a batch of one or of both trains by, processes, and checkpoints in one."""

import math
from itertools import chain, product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from scipy.stats import rankdata
from torch import Tensor
from torch.nn import functional as F

from common.batches import TaskTexts
from common.distributed import Exchange, rank, world_size
from common.errors import UserError
from common.table import joined, take
from data.slot_language import Language, who_does_what
from papers.sentence.codiemb import losses, properties
from papers.sentence.codiemb.fusion import FusedCoDiEmb, delta_guided
from papers.sentence.codiemb.module import CoDiEmb
from tests.processes import assert_shares_agree, on_processes


def sentences(count: int, *key: int) -> list[str]:
    home, ids = Language("home"), torch.arange(count)
    return home.texts(home.worded(home.concepts(home.topics(ids, *key), ids, *key), ids, *key))


QUERIES = TaskTexts(
    [who_does_what(text) for text in sentences(3, 70)],
    [list(texts) for texts in zip(sentences(3, 71), sentences(3, 72), strict=True)],
    [[text] for text in sentences(3, 73)],
    torch.full((3,), -1.0),
    torch.arange(3),
)
PAIRS = TaskTexts(
    sentences(4, 74),
    [[text] for text in sentences(4, 75)],
    [[] for _ in range(4)],
    torch.tensor([1.0, 0.4, 1.0, 0.0]),
    torch.arange(3, 7),
)


def silent(cls: type = CoDiEmb, **arguments: Any) -> CoDiEmb:
    torch.manual_seed(0)
    method = cls(**{"dropout": 0.0} | arguments).train()
    method.seen = {}
    method.log_loss = lambda loss, **terms: method.seen.update(terms) or loss  # without a trainer there is no log
    return method


def mean_states(method: CoDiEmb, texts: list[str], layer: int) -> Tensor:
    """Unit vectors as the paper has them, in float64."""
    found = []
    for text in texts:
        tokens = method.encoder.tokenize([text])
        states = method.encoder.body(input_ids=tokens.ids, output_hidden_states=True).hidden_states[layer]
        found.append(F.normalize(states[0].double().mean(dim=0), dim=0).detach())
    return torch.stack(found)


def cross_entropy(query: Tensor, keys: Tensor, own: int, temperature: float) -> float:
    logits = keys @ query / temperature
    return float(logits.logsumexp(dim=0) - logits[own])


def search_loop(method: CoDiEmb, others: list[str], temperature: float) -> float:
    """L_IR as the released code has it, a query and a slot at a time."""
    queries = mean_states(method, QUERIES.query, 2)
    wrong = mean_states(method, [text for texts in QUERIES.negatives for text in texts] + others, 2)
    found = []
    for slot, i in product(range(2), range(3)):
        keys = mean_states(method, [texts[slot] for texts in QUERIES.positives], 2)
        found.append(cross_entropy(queries[i], torch.cat([keys, wrong]), i, temperature))
    return sum(found) / len(found)


def pair_loop(method: CoDiEmb, grades: list[float], temperature: float) -> dict[str, float]:
    """L_STS as the released code has it, in plain floats."""
    seconds = [texts[0] for texts in PAIRS.positives]
    middle = [mean_states(method, texts, 1) for texts in (PAIRS.query, seconds)]
    last = [mean_states(method, texts, 2) for texts in (PAIRS.query, seconds)]
    s, n, t = (last[0] * last[1]).sum(dim=1).tolist(), len(grades), 0.05
    top = [i for i in range(n) if grades[i] >= 1]
    ranks = rankdata([-y for y in grades]) - 1
    target = [math.exp((n - 1 - r) / (n - 1) / t) for r in ranks]
    predicted = [math.exp(x / t) for x in s]
    share = [(a / sum(target), b / sum(predicted)) for a, b in zip(target, predicted, strict=True)]
    order = sorted(range(n), key=lambda i: -grades[i])
    pro = []
    for place, k in enumerate(order):
        lower = [j for j in order[place + 1 :] if grades[k] > grades[j]]
        if lower:
            own = max(grades[k] - grades[j] for j in lower) * s[k] / t
            rest = [(grades[k] - grades[j]) * s[j] / t for j in lower]
            pro.append(math.log(sum(math.exp(x - own) for x in [own, *rest])))
    correlation = torch.corrcoef(torch.tensor([s, grades]))[0, 1]
    return {
        "middle": sum(cross_entropy(middle[0][i], middle[1], i, temperature) for i in top) / len(top),
        "pearson": 2 * (1 - float(correlation)),
        "pro": 0.5 * sum(pro) / len(pro),
        "rank": 5 * sum(a * math.log(a / b) for a, b in share) / n,
    }


@pytest.mark.parametrize("temperature", [0.02, 0.2])
def test_the_whole_loss_of_either_task_is_that_of_a_loop(temperature: float) -> None:
    method = silent(temperature=temperature)
    assert method.training_step(QUERIES, 0).item() == pytest.approx(search_loop(method, [], temperature), rel=2e-4)
    assert method.seen.keys() == {"queries"}
    expected = pair_loop(method, PAIRS.grades.tolist(), temperature)
    method.seen.clear()
    assert method.training_step(PAIRS, 0).item() == pytest.approx(sum(expected.values()), rel=2e-4)
    assert {name: float(term.detach()) for name, term in method.seen.items()} == pytest.approx(
        expected, rel=1e-3, abs=1e-5
    )


def test_in_a_mixed_batch_each_task_has_its_loss_and_pairs_are_negatives() -> None:
    method = silent(temperature=0.2)
    both = take(joined(QUERIES, PAIRS), torch.tensor([0, 3, 4, 1, 5, 2, 6]))
    expected = pair_loop(method, PAIRS.grades.tolist(), 0.2)
    expected["queries"] = search_loop(method, [texts[0] for texts in PAIRS.positives], 0.2)
    assert method.training_step(both, 0).item() == pytest.approx(sum(expected.values()), rel=2e-4)


def test_grades_may_be_hidden_but_for_the_top() -> None:
    method = silent(temperature=0.2, grades="top")
    expected = pair_loop(method, [1.0, 0.0, 1.0, 0.0], 0.2)
    assert method.training_step(PAIRS, 0).item() == pytest.approx(sum(expected.values()), rel=2e-4)


def test_one_loss_for_both() -> None:
    one = silent(objective="info_nce", temperature=0.2)
    first, second = (mean_states(one, texts, 2) for texts in (PAIRS.query, [texts[0] for texts in PAIRS.positives]))
    expected = sum(cross_entropy(first[i], second, i, 0.2) for i in (0, 2)) / 2
    assert one.training_step(PAIRS, 0).item() == pytest.approx(expected, rel=2e-4)
    assert one.training_step(QUERIES, 0).item() == pytest.approx(search_loop(one, [], 0.2), rel=2e-4)
    wide = silent(objective="info_nce", temperature=0.2, threshold=0.4)
    expected = sum(cross_entropy(first[i], second, i, 0.2) for i in (0, 1, 2)) / 3
    assert wide.training_step(PAIRS, 0).item() == pytest.approx(expected, rel=2e-4)
    other = silent(objective="cosent", temperature=0.2)
    s = (first * second).sum(dim=1).tolist()
    pairs = [(0, 1), (0, 3), (2, 1), (2, 3), (1, 3)]
    expected = math.log(1 + sum(math.exp((s[low] - s[high]) / 0.2) for high, low in pairs))
    assert other.training_step(PAIRS, 0).item() == pytest.approx(expected, rel=2e-4)
    queries = mean_states(other, QUERIES.query, 2)
    right = [
        [float(q @ d) for d in mean_states(other, texts, 2)]
        for q, texts in zip(queries, QUERIES.positives, strict=True)
    ]
    wrong = [float(q @ mean_states(other, texts, 2)[0]) for q, texts in zip(queries, QUERIES.negatives, strict=True)]
    expected = math.log(1 + sum(math.exp((low - high) / 0.2) for high in chain(*right) for low in wrong))
    assert other.training_step(QUERIES, 0).item() == pytest.approx(expected, rel=2e-4)


@pytest.mark.parametrize(
    "given", [([0.3, 0.1, 0.2], [0.4, 0.4, 0.4]), ([0.2, 0.2, 0.2], [1.0, 0.0, 0.4]), ([0.7], [1.0])]
)
def test_lists_without_an_order_have_a_finite_loss_and_slope(given: tuple[list[float], list[float]]) -> None:
    scores, grades = torch.tensor(given[0], requires_grad=True), torch.tensor(given[1])
    cosent = losses.cosent(scores, grades, temperature=0.05)
    found = [losses.pearson(scores, grades), losses.pro(scores, grades), losses.rank_kl(scores, grades), cosent]
    assert all(torch.isfinite(loss) for loss in found)
    assert torch.isfinite(torch.autograd.grad(sum(found), scores)[0]).all()


def test_no_top_pair_costs_nothing() -> None:
    x = properties.rows(properties.drawn(0), 2, 3, 4).requires_grad_()
    loss = losses.top_pairs(*x, torch.tensor([0.8, 0.0, 0.4]), temperature=0.02)
    assert float(loss.detach()) == 0 and not torch.autograd.grad(loss, x)[0].any()


def test_processes_share_a_batch() -> None:
    def shares() -> tuple[Tensor, Tensor]:
        share = slice(6 * rank() // world_size(), 6 * (rank() + 1) // world_size())
        draw = properties.drawn(1)
        x = [properties.rows(draw, *shape)[share].requires_grad_() for shape in ((6, 5), (6, 2, 5), (6, 3, 5))]
        first, second = (properties.rows(draw, 6, 5)[share] for _ in range(2))
        grades = properties.graded(2, 6)[1][share]
        gathered = losses.gathered((x[0] * second).sum(dim=1), grades, Exchange.GATHER)
        terms = [
            losses.multi_positive(*x, temperature=0.1, others=first),
            losses.top_pairs(x[0], second, grades, temperature=0.1, exchange=Exchange.GATHER),
            losses.pearson(*gathered),
            losses.pro(*gathered),
            losses.rank_kl(*gathered),
            losses.cosent(*gathered, temperature=0.1),
        ]
        loss = torch.stack(terms).sum()
        return loss.detach(), torch.autograd.grad(loss / world_size(), x[0])[0]

    value, gradient = shares()
    assert_shares_agree(on_processes(2, shares), value, gradient)


class Shortened(FusedCoDiEmb):
    """With a step count of its own, in place of a trainer's."""

    global_step = 0
    trainer = SimpleNamespace(estimated_stepping_batches=8)


@pytest.mark.parametrize("kept", ["delta_guided", "mean"])
def test_checkpoints_are_kept_at_equal_distances_and_made_one(kept: str) -> None:
    method = silent(Shortened, checkpoints=4, kept=kept)
    table = method.encoder.body.embeddings.word_embeddings.weight
    start, seen = table.detach().clone(), []
    for step in range(1, 9):
        with torch.no_grad():
            table += 0.01 * step
        method.global_step = step - 1  # as Lightning counts it behind a step
        method.follow()
        method.global_step = step
        seen.append(table.detach().clone())
    kept_states = [method.named(one)["body.embeddings.word_embeddings.weight"] for one in method.saved]
    assert all(x.equal(y) for x, y in zip(kept_states, [start, *seen[1::2]], strict=True))
    method.on_train_end()
    if kept == "mean":
        expected = torch.stack(seen[1::2]).mean(dim=0)
    else:
        expected = delta_guided([{"x": x} for x in seen[1::2]], {"x": start})["x"]
        assert (expected - start).norm() > (torch.stack(seen[1::2]).mean(dim=0) - start).norm()
    torch.testing.assert_close(table.detach(), expected)


def test_a_training_that_ends_early_is_made_of_what_it_has() -> None:
    method = silent(Shortened, checkpoints=4, kept="mean")
    table = method.encoder.body.embeddings.word_embeddings.weight
    for step in range(1, 4):
        with torch.no_grad():
            table += 1.0
        method.global_step = step - 1  # as Lightning counts it behind a step
        method.follow()
        method.global_step = step
    at_two = method.named(method.saved[1])["body.embeddings.word_embeddings.weight"].clone()
    method.on_train_end()
    torch.testing.assert_close(table.detach(), at_two)


def test_checkpoints_are_those_of_the_training_that_was_tuned() -> None:
    folder = Path(losses.__file__).parent
    one, fused = (yaml.safe_load((folder / f"{name}.yaml").read_text()) for name in ("mini", "mini_fusion"))
    assert fused["model"].pop("class_path") != one["model"].pop("class_path")
    assert [fused["model"]["init_args"].pop(name) for name in ("checkpoints", "kept")] == [4, "delta_guided"]
    assert fused == one


def test_the_properties_hold_and_see_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    for check in (properties.several_positives, properties.order_of_a_batch, properties.best_scores, properties.fused):
        assert max(check(0).values()) < 1e-10, check
    monkeypatch.setattr(losses, "ideal_scores", lambda grades: grades)
    assert properties.best_scores(0)["a share of the divergence"] < 1e-10, "the target is what it is told"
    monkeypatch.setattr(properties.fusion, "delta_guided", lambda states, start: properties.averaged(states))
    with pytest.raises(ArithmeticError, match="distances do not count"):
        properties.fused(0)
    monkeypatch.setattr(
        losses, "multi_positive", lambda q, p, n, *, temperature: (q @ p[:, 0].T + p.sum() + n.sum()).sum()
    )
    assert properties.several_positives(0)["loss"] > 0.1


@pytest.mark.parametrize(
    ("cls", "arguments", "message"),
    [
        (CoDiEmb, {"objective": "one"}, "model.objective is 'one'; it must be one of by_task, info_nce, cosent"),
        (CoDiEmb, {"grades": "no"}, "model.grades is 'no'; it must be one of all, top"),
        (CoDiEmb, {"rank": -1.0}, "model.rank -1.0: expected"),
        (CoDiEmb, {"list_temperature": 0.0}, "model.list_temperature 0.0: expected"),
        (CoDiEmb, {"threshold": 1.5}, "model.threshold 1.5: expected"),
        (CoDiEmb, {"pair_exchange": "some"}, "exchange 'some': expected"),
        (FusedCoDiEmb, {"kept": "last"}, "model.kept is 'last'; it must be 'delta_guided' or 'mean'"),
        (FusedCoDiEmb, {"checkpoints": 0}, "model.checkpoints 0: expected"),
    ],
)
def test_what_is_out_of_range_is_refused(cls: type, arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        silent(cls, **arguments)
