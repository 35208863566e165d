"""Arbitrary pairs of classes: the step as loops, who is whose partner, and what the gate decides."""

import pytest
import torch
from torch import Tensor, nn

from common.batches import Images
from common.errors import UserError
from common.losses import class_pairs
from papers.vision_ssl.hydra_pairs.module import HydraPairs
from tests.oracles import class_pairs as oracle
from tests.processes import assert_steps_agree

LABELS = torch.tensor([0, 2, 1, 2, 2, 0, 3, 1])


def batch(own: slice = slice(None), views: int = 2) -> Images:
    pixels = torch.rand(views, 8, 1, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.double)
    return Images(pixels[:, own], LABELS[own], torch.arange(8)[own] * 3)


def module(**arguments) -> HydraPairs:
    torch.manual_seed(0)
    made = HydraPairs(width=8, hidden_dim=30, projection_dim=5, gate_dim=4, gate_hidden_dim=7, classes=4, **arguments)
    made.log_loss = lambda loss, **terms: loss  # without a trainer there is no log
    return made.double().train()


def normalized(x: Tensor, layer: nn.Module) -> Tensor:
    return (x - x.mean(0)) / (x.var(0, unbiased=False) + layer.eps).sqrt() * layer.weight + layer.bias


@pytest.mark.parametrize("pairs", ["arbitrary", "distinct", "identical"])
@pytest.mark.parametrize("gate", ["pair", "own", "none"])
def test_the_step_is_that_of_loops(pairs: str, gate: str) -> None:
    method, data = module(pairs=pairs, gate=gate, temperature=0.3), batch()
    features = method.network.encoder(data.views.flatten(0, 1))
    (first, norm, _, last), layer_norm = method.network.head
    z = normalized(features @ first.weight.T, norm).relu() @ last.weight.T
    z = (z - z.mean(1, keepdim=True)) / (z.var(1, unbiased=False, keepdim=True) + layer_norm.eps).sqrt()
    labels = LABELS.repeat(2)
    partners = method.partners(labels, data.ids)
    gates = None
    if gate != "none":
        _, inputs, hidden, _, between, opening, _ = method.opening.body
        table, others = method.opening.embedding.weight, partners if gate == "pair" else labels
        x = normalized(((table[labels] + table[others]) / 2).relu(), inputs)
        x = normalized((x @ hidden.weight.T + hidden.bias).relu(), between)
        gates = 1 / (1 + (-(x @ opening.weight.T + opening.bias)).exp())
    z = z / z.norm(dim=1, keepdim=True)
    expected = oracle.class_pairs(z, labels, partners, temperature=0.3, gates=gates)
    torch.testing.assert_close(method.training_step(data, 0), expected, rtol=1e-9, atol=1e-11)


def test_partners_are_those_of_the_kind() -> None:
    labels = LABELS.repeat(2)
    assert torch.equal(module(pairs="identical").partners(labels, batch().ids), labels)
    distinct = module(pairs="distinct").partners(labels, batch().ids)
    assert (distinct != labels).all() and distinct.min() >= 0 and distinct.max() < 4
    arbitrary = module().partners(labels, batch().ids)
    assert torch.equal(arbitrary.sort().values, labels.sort().values) and not torch.equal(arbitrary, labels)


def test_the_order_of_two_classes_does_not_matter() -> None:
    method, others = module().eval(), torch.tensor([1, 1, 3, 2, 0, 0, 1, 2])
    torch.testing.assert_close(method.opening(LABELS, others), method.opening(others, LABELS), rtol=0, atol=0)


def test_a_gate_chooses_a_subspace_and_only_the_later_form_also_a_temperature() -> None:
    draw = torch.Generator().manual_seed(0)
    z = nn.functional.normalize(torch.randn(8, 5, generator=draw, dtype=torch.double), dim=1)
    gates, partners = torch.rand(8, 5, generator=draw, dtype=torch.double), LABELS.roll(1)
    given = {"labels": LABELS, "partners": partners, "temperature": 0.1}
    first, half = (class_pairs(z, gates=factor * gates, **given) for factor in (1.0, 0.5))
    torch.testing.assert_close(first, half, rtol=1e-12, atol=0)
    later, half = (class_pairs(z, gates=factor * gates, renormalize=False, **given) for factor in (1.0, 0.5))
    assert abs(later - half) > 0.1
    warmer = class_pairs(z, gates=gates, renormalize=False, **given | {"temperature": 0.4})
    torch.testing.assert_close(half, warmer, rtol=1e-12, atol=0)
    opened, plain = class_pairs(z, gates=torch.ones_like(z), **given), class_pairs(z, **given)
    torch.testing.assert_close(opened, plain, rtol=1e-12, atol=0)


def test_the_gate_and_both_sides_are_trained() -> None:
    method = module()
    method.training_step(batch(), 0).backward()
    assert all(p.grad is not None and p.grad.any() for p in method.parameters())


@pytest.mark.parametrize("cuts", [(0, 5, 8), (0, 2, 3, 7, 8)], ids=["two", "four"])
def test_processes_agree_with_one(cuts: tuple[int, ...]) -> None:
    assert_steps_agree(cuts, module, batch)


def test_a_label_beyond_the_classes_is_named() -> None:
    data = batch()
    with pytest.raises(UserError, match=r"model.classes is 4; the data have a class 4, from 0 on"):
        module().training_step(data._replace(labels=data.labels + 1), 0)
