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
    "weight": (-0.1,),
    "log_z": (),
    "eps": (-1.0,),
    "attraction": (-1.0,),
    "repulsion": (-1.0,),
    "pull": (0.0, -1.0),
    "push": (0.0, -1.0),
    "base": (),
    "above": (),
    "below": (),
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


@pytest.mark.parametrize(("case", "name", "value"), WRONG_NUMBERS)
def test_a_tensor_out_of_range_is_named(case: Case, name: str, value: float) -> None:
    example = case.example(8)
    for given in (torch.tensor(value), torch.tensor(value, dtype=torch.float64, requires_grad=True)):
        if given.requires_grad and math.isnan(value):
            continue  # what training may lead to: the loss is NaN, and whoever logs it names the step
        with pytest.raises(UserError, match=f"{name} {value:g}".replace("+", r"\+")):
            call(case.entry.function, example, arguments(example) | {name: given})


@pytest.mark.parametrize(("case", "name"), sorted({param.values[:2] for param in WRONG_NUMBERS}, key=str))
@pytest.mark.parametrize("wrong", ["(1,)", "(n, 1)", "(n + 1,)", "bool", "complex"])
def test_a_tensor_in_place_of_a_number_is_real_and_0_d(case: Case, name: str, wrong: str) -> None:
    example = case.example(8)
    given = {
        "(1,)": torch.full((1,), 0.5),
        "(n, 1)": torch.full((8, 1), 0.5),
        "(n + 1,)": torch.full((9,), 0.5),
        "bool": torch.tensor(True),
        "complex": torch.tensor(0.5 + 0j),
    }[wrong]
    with pytest.raises(UserError, match=f"{name} (\\(|is )"):
        call(case.entry.function, example, arguments(example) | {name: given})


def test_one_temperature_a_query_where_it_says_so() -> None:
    query, key = (torch.eye(4, requires_grad=True) for _ in range(2))
    each = torch.tensor([0.1, 0.2, 0.3, 0.0])
    losses = (L.info_nce, L.symmetric_info_nce, lambda q, k, **t: L.focal_info_nce(q, k, gamma=1.0, **t))
    for loss in (*losses, lambda q, k, **t: L.queue_info_nce(q, k, k, **t)):
        assert loss(query, key, temperature=each + 0.1).isfinite()
        with pytest.raises(UserError, match="temperature 0: expected a finite number above 0"):
            loss(query, key, temperature=each)
        with pytest.raises(UserError, match=r"temperature \(5,\): .* or \(4,\), one for each query"):
            loss(query, key, temperature=torch.ones(5))
    with pytest.raises(UserError, match="temperature"):
        L.sup_con(query, torch.arange(4) // 2, temperature=each + 0.1)


def test_a_learnt_temperature_that_is_nan_gives_a_loss_that_is() -> None:
    temperature = torch.tensor(math.nan, requires_grad=True)
    assert L.info_nce(torch.eye(3), torch.eye(3), temperature=temperature).isnan()


WRONG_EMBEDDINGS = {
    "0-d": lambda x: x.flatten()[0],
    "1-d": lambda x: x.flatten()[: len(x)],
    "[None]": lambda x: x[None],
    "[..., None]": lambda x: x[..., None],
    "no rows but one": lambda x: x[:1],
    "complex": lambda x: x.to(torch.complex64),
    "integers": lambda x: x.long(),
    "bool": lambda x: x > 0,
}


@pytest.mark.parametrize("wrong", WRONG_EMBEDDINGS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_embeddings_of_another_shape_or_type_are_refused(case: Case, wrong: str) -> None:
    example = case.example(8)
    for name, given in (example.embeddings | {k: v for k, v in example.shared.items() if k == "label"}).items():
        if name in ("hard", "negatives") and wrong in ("0-d", "1-d"):
            continue  # the example itself would fail
        if wrong == "no rows but one" and name != "key":
            continue  # one key cannot be the own one of eight queries; other embeddings may be of any number
        with pytest.raises(UserError):
            call(case.entry.function, example, arguments(example) | {name: WRONG_EMBEDDINGS[wrong](given.detach())})


@pytest.mark.parametrize("case", CASES, ids=str)
def test_one_argument_may_be_of_another_precision(case: Case) -> None:
    example = case.example(8)
    want = call(case.entry.function, example)
    for name, value in arguments(example).items():
        if isinstance(value, Tensor) and value.dtype == torch.float64:
            got = call(case.entry.function, example, arguments(example) | {name: value.float()})
            torch.testing.assert_close(got.double(), want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "case", [c for c in CASES if {"mask", "positive", "ignored"} & c.example(8).samples.keys()], ids=str
)
def test_masks_are_bool_and_columns_integers_of_a_label(case: Case) -> None:
    example = case.example(8)
    for name in {"mask", "positive", "ignored"} & example.samples.keys():
        given = example.samples[name]
        wrong = [given.double(), given.to(torch.complex64)]
        wrong += [given.long()] if given.dtype == torch.bool else [given > 0, given + 99, given - 7]
        for values in wrong:
            with pytest.raises(UserError, match=f"{name} "):
                call(case.entry.function, example, arguments(example) | {name: values})


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
@pytest.mark.parametrize("case", [case for case in CASES if not case.entry.name.endswith("uniformity")], ids=str)
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


def test_a_learnt_temperature_that_is_nan_gives_a_loss_of_momentum_that_is() -> None:
    nan, x, ids = torch.tensor(math.nan, requires_grad=True), torch.eye(3), torch.arange(3)
    assert L.momentum_contrast(x, x, x, ids=ids, key_ids=ids, temperature=nan, alpha=0.5).isnan()
