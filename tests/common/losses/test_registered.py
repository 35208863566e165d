"""Generated for every registered loss: right by value and gradient, bounded in memory, finite at a logit of 100."""

import dataclasses

import pytest
import torch
from torch import Tensor

from common.losses.registry import Example, Memory
from common.tiled.tiles import tiling
from tests.common.losses.cases import CASES, Case, arguments, call, is_leaf, leaves
from tests.common.walks import WALKS, walking
from tests.waiting import Reads

every_case = pytest.mark.parametrize("case", CASES, ids=str)
every_path = pytest.mark.parametrize("path", WALKS)


@every_path
@every_case
def test_value_and_gradient_match_a_plain_loop(case: Case, path: str) -> None:
    for n in (5, 8):
        example = case.example(n)
        with walking(path):
            value = call(case.entry.function, example)
            gradients = torch.autograd.grad(value, leaves(example))
        expected = call(case.oracle(), example)
        torch.testing.assert_close(value, expected, rtol=1e-11, atol=1e-12)
        for ours, theirs in zip(gradients, torch.autograd.grad(expected, leaves(example)), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


@every_path
@pytest.mark.parametrize("case", [case for case in CASES if case.example(5).gradcheck], ids=str)
def test_gradcheck(case: Case, path: str) -> None:
    example = case.example(5, seed=1)

    def function(*inputs: Tensor) -> Tensor:
        given = iter(inputs)
        changed = {k: next(given) if is_leaf(v) else v for k, v in arguments(example).items()}
        return call(case.entry.function, example, changed)

    # The whole Jacobian once; by tiles its product with random vectors, which takes two calls instead of many.
    with walking(path):
        assert torch.autograd.gradcheck(function, leaves(example), fast_mode="dense" not in path)


def kept_bytes(case: Case, n: int) -> int:
    """Bytes of the distinct storages that backward holds on to, those hidden in a Function's attributes included."""
    example = case.example(n)
    storages: dict[int, torch.UntypedStorage] = {}  # held, so that no address is used twice

    def count(found: object) -> None:
        if isinstance(found, Tensor):
            storage = found.untyped_storage()
            storages[storage.data_ptr()] = storage
        elif isinstance(found, tuple | list):
            for item in found:
                count(item)
        elif callable(found) and getattr(found, "__closure__", None):
            for cell in found.__closure__:
                count(cell.cell_contents)
        elif dataclasses.is_dataclass(found):
            count([getattr(found, f.name) for f in dataclasses.fields(found)])

    def pack(tensor: Tensor) -> Tensor:
        count(tensor)
        return tensor

    with tiling(16, 16), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        value = call(case.entry.function, example)
    nodes, seen = [value.grad_fn], set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        count(list(getattr(node, "__dict__", {}).values()))
        nodes += [following for following, _ in node.next_functions]
    return sum(storage.nbytes() for storage in storages.values())


@pytest.mark.parametrize("case", [c for c in CASES if c.entry.memory is Memory.LINEAR], ids=str)
def test_bytes_kept_for_backward_grow_linearly(case: Case) -> None:
    # One n x n matrix of float64 would add 480 KB between the two sizes; four times as many vectors add some 50 KB.
    small, large = kept_bytes(case, 64), kept_bytes(case, 256)
    assert large <= 4.2 * small


def at_largest_logit(case: Case, dtype: torch.dtype) -> Example:
    """The example in another precision, at the scale of 100 that CLIP ends at, some pairs alike: a logit of 100."""
    example = case.example(24)
    first = next(iter(example.embeddings.values())).detach()
    embeddings = {}
    for name, value in example.embeddings.items():
        value = value.detach().clone()
        if value.shape == first.shape:
            value[::2] = first[::2]
        embeddings[name] = value.to(dtype).requires_grad_()
    extremes = {"temperature": 0.01, "scale": 100.0}
    shared, samples = (
        {k: v for k, v in group.items() if k not in extremes} for group in (example.shared, example.samples)
    )
    given = {**example.shared, **example.samples}
    shared |= {k: torch.tensor(v, requires_grad=True) for k, v in extremes.items() if k in given}
    return dataclasses.replace(example, embeddings=embeddings, samples=samples, shared=shared)


def widened(example: Example, dtype: torch.dtype) -> Example:
    return dataclasses.replace(
        example,
        embeddings={k: v.detach().to(dtype).requires_grad_() for k, v in example.embeddings.items()},
        shared={k: v.detach().to(dtype).requires_grad_() if is_leaf(v) else v for k, v in example.shared.items()},
    )


@pytest.mark.parametrize("autocast", [False, True], ids=["plain", "autocast"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@every_path
@every_case
def test_a_logit_of_100_is_finite_and_right(case: Case, path: str, dtype: torch.dtype, autocast: bool) -> None:
    example = at_largest_logit(case, dtype)
    half = torch.float16 if dtype is torch.float16 else torch.bfloat16
    with walking(path, 5, 7, kept=70), torch.autocast("cpu", dtype=half, enabled=autocast):
        value = call(case.entry.function, example)
    gradients = torch.autograd.grad(value, leaves(example))
    exact = widened(example, torch.float64)
    expected = call(case.entry.function, exact)
    torch.testing.assert_close(value.double(), expected, rtol=2e-5, atol=2e-4)
    digits = {torch.float32: 1e-4, torch.bfloat16: 2e-2, torch.float16: 4e-3}[dtype]
    for ours, theirs in zip(gradients, torch.autograd.grad(expected, leaves(exact)), strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=digits, atol=digits * float(theirs.abs().max()))


WAITING = {
    "triplet": "it lists its triplets, and the data say how many there are",
    "soft_top_k": "it ends when its thresholds stand still",
}


@every_case
def test_a_gpu_is_never_waited_for(case: Case) -> None:
    example = case.example(24)
    # A learnable number is looked at on a CPU.
    shared = {k: v.item() if is_leaf(v) and v.ndim == 0 else v for k, v in example.shared.items()}
    example = dataclasses.replace(example, shared=shared)
    for walk in ("streamed", "streamed dense"):
        with walking(walk, 10, 10), Reads() as reads:
            value = call(case.entry.function, example)
            torch.autograd.grad(value, leaves(example))
        assert bool(reads.places) == (case.entry.name in WAITING), reads.places
