"""Generated for every registered loss: what an argument may be, and the edges of what it may be."""

import dataclasses
import inspect
import math

import pytest
import torch
from torch import Tensor

from common import losses as L
from common.errors import UserError
from common.losses.registry import LOSSES, Example
from common.tiled.tiles import tiling
from tests.common.losses.cases import CASES, Case, arguments, call, leaves

every_path = pytest.mark.parametrize("path", [(3, 2, 0), (512, 512, 10**6)], ids=["tiled", "dense"])

# Not a number and infinite for all; what else is out of range.
NUMBERS: dict[str, tuple[float, ...]] = {
    "temperature": (0.0, -0.1),
    "teacher_temperature": (0.0, -0.1),
    "scale": (0.0, -1.0),
    "bias": (),
    "gamma": (-1.0,),
    "margin": (),
    "alpha": (-0.1,),
    "t": (0.0, -1.0),
    "sigma": (0.0, -1.0),
    "threshold": (),
    "label_smoothing": (-0.1, 1.1),
    "k": (0, 9, -1),
}
AT_LEAST_0 = ("triplet", "pairwise_hinge")
WRONG_NUMBERS = [
    pytest.param(case, name, value, id=f"{case}-{name}-{value}")
    for case in {str(case).split("-")[0]: case for case in CASES}.values()
    for name in inspect.signature(case.entry.function).parameters
    if name in NUMBERS
    for value in (math.nan, math.inf, *NUMBERS[name])
]


@pytest.mark.parametrize(("case", "name", "value"), WRONG_NUMBERS)
def test_a_number_out_of_range_is_named(case: Case, name: str, value: float) -> None:
    example = case.example(8)
    with pytest.raises(UserError, match=f"{name} {value:g}".replace("+", r"\+").replace("teacher_", "(teacher_)?")):
        call(case.entry.function, example, arguments(example) | {name: value})


@pytest.mark.parametrize("name", AT_LEAST_0)
def test_a_hinge_has_no_margin_below_0(name: str) -> None:
    case = next(case for case in CASES if case.entry.name == name)
    with pytest.raises(UserError, match=r"margin -0.1: expected a finite number at least 0"):
        call(case.entry.function, case.example(8), arguments(case.example(8)) | {"margin": -0.1})


def test_every_number_of_every_loss_is_tried() -> None:
    plain = {"positives", "mining", "exchange", "hardest", "symmetric", "directions", "squared", "stop_gradient"}
    for entry in LOSSES.values():
        for name, parameter in inspect.signature(entry.function).parameters.items():
            if "float" in str(parameter.annotation) and name not in plain:
                assert name in NUMBERS, (entry.name, name)


WRONG_ROWS = {
    "(n, 1)": lambda x: x[:, None],
    "(1, n)": lambda x: x[None],
    "(1,)": lambda x: x[:1],
    "(n + 1,)": lambda x: torch.cat([x, x[:1]]),
    "(n - 1,)": lambda x: x[:-1],
    "0-d": lambda x: x[0],
}


@pytest.mark.parametrize("shape", WRONG_ROWS)
@pytest.mark.parametrize("case", [case for case in CASES if case.example(8).samples], ids=str)
def test_samples_of_another_shape_are_refused(case: Case, shape: str) -> None:
    """Ids, labels, lists and masks: another shape may broadcast to wrong pairs without an error of its own."""
    example = case.example(8)
    for name, rows in example.samples.items():
        if shape == "0-d" and name in ("temperature", "k"):
            continue  # one for all queries
        with pytest.raises(UserError):
            call(case.entry.function, example, arguments(example) | {name: WRONG_ROWS[shape](rows)})


@pytest.mark.parametrize(
    "case", [c for c in CASES if {"ids", "labels", "ignore_ids"} & c.example(8).samples.keys()], ids=str
)
def test_ids_are_integers(case: Case) -> None:
    example = case.example(8)
    (name,) = {"ids", "labels", "ignore_ids"} & example.samples.keys()
    with pytest.raises(UserError, match="expected integers"):
        call(case.entry.function, example, arguments(example) | {name: example.samples[name].double()})


def first(example: Example, n: int) -> Example:
    """The first n samples of it, in float32."""

    def cut(group: dict[str, Tensor]) -> dict[str, Tensor]:
        return {k: v.detach()[:n].float() if v.is_floating_point() else v[:n] for k, v in group.items()}

    embeddings = {k: v.requires_grad_() for k, v in cut(example.embeddings).items()}
    return dataclasses.replace(example, embeddings=embeddings, samples=cut(example.samples))


@every_path
@pytest.mark.parametrize("case", [case for case in CASES if case.entry.name != "uniformity"], ids=str)
def test_no_samples_and_one_sample(case: Case, path: tuple[int, int, int]) -> None:
    for n in (0, 1):
        example = first(case.example(8), n)
        with tiling(*path):
            value = call(case.entry.function, example)
        gradients = torch.autograd.grad(value, leaves(example), allow_unused=True)
        assert value.isfinite() and all(g is None or g.isfinite().all() for g in gradients)
        assert n or value == 0


@every_path
def test_a_weight_of_0_leaves_out(path: tuple[int, int, int]) -> None:
    draw = torch.Generator().manual_seed(0)
    query, key = (torch.randn(6, 4, generator=draw, dtype=torch.float64, requires_grad=True) for _ in range(2))
    hard = torch.randn(6, 2, 4, generator=draw, dtype=torch.float64)
    with tiling(*path):
        none = L.HardNegatives(hard, "all", -math.inf)
        got = torch.autograd.grad(L.info_nce(query, key, temperature=0.5, hard_negatives=none), (query, key))
        upper = torch.ones(6, 6, dtype=torch.bool).triu(1)
        weights = torch.zeros(6, 6, dtype=torch.float64).masked_fill(upper, -math.inf)
        out = torch.autograd.grad(L.info_nce(query, key, temperature=0.5, log_weights=weights), (query, key))
    logits = torch.cat([query @ key.T, (query @ hard.flatten(0, 1).T)], 1) / 0.5
    own = torch.eye(6).repeat_interleave(2, 1).bool()
    logits = logits.masked_fill(torch.cat([torch.zeros(6, 6).bool(), own], 1), -math.inf)
    loss = (logits.logsumexp(1) - logits.diagonal()).mean()
    for ours, theirs in zip(got, torch.autograd.grad(loss, (query, key)), strict=True):
        torch.testing.assert_close(ours, theirs)
    lower = (query @ key.T / 0.5).masked_fill(upper, -math.inf)
    loss = (lower.logsumexp(1) - lower.diagonal()).mean()
    for ours, theirs in zip(out, torch.autograd.grad(loss, (query, key)), strict=True):
        torch.testing.assert_close(ours, theirs)
