"""What holds of tiles on a GPU, as far as it shows without one."""

from dataclasses import replace

import pytest
import torch

from common.errors import UserError
from common.tiled.backends import Backend, chosen, using
from common.tiled.tiles import current, full_precision, tf32, tiling
from tests.common.losses.cases import by_name, call, is_leaf, leaves
from tests.common.walks import walking

GPU, CPU = torch.device("cuda"), torch.device("cpu")


def test_products_on_a_gpu_are_exact_unless_told_otherwise() -> None:
    flags = torch.backends.cuda.matmul
    before = flags.fp32_precision
    try:
        flags.fp32_precision = "tf32"  # as somebody set it for the rest of the training
        with full_precision(GPU):
            assert flags.fp32_precision == "ieee"
        with tf32(), full_precision(GPU):
            assert flags.fp32_precision == "tf32"
        with pytest.raises(ZeroDivisionError), full_precision(GPU):
            1 / 0  # noqa: B018
        assert flags.fp32_precision == "tf32"
    finally:
        flags.fp32_precision = before


def test_the_backend_is_that_of_the_device_unless_told_otherwise() -> None:
    assert (chosen(CPU), chosen(GPU)) == (Backend.CPU, Backend.CUDA)
    with using("reference"):
        assert chosen(GPU) is Backend.REFERENCE and chosen(GPU, "cuda") is Backend.CUDA
    assert chosen(GPU) is Backend.CUDA
    with pytest.raises(UserError, match="backend 'tpu'"), using("tpu"):
        pass


def test_tiles_of_a_gpu_are_large_and_those_of_a_block_come_first() -> None:
    assert current(GPU).rows * current(GPU).columns > 30 * current(CPU).rows * current(CPU).columns
    with tiling(3, 4):
        assert (current(GPU).rows, current(GPU).columns) == (3, 4)


@pytest.mark.parametrize("walk", ["reference", "streamed", "streamed dense"])
@pytest.mark.parametrize("name", ["info_nce-query_key", "sup_con-labelled", "sigmoid_pairwise-example"])
def test_a_loss_is_compiled_in_one_graph(name: str, walk: str) -> None:
    case = by_name(name)
    example = case.example(9)
    # A learnable number is looked at on a CPU, which ends a graph.
    shared = {k: v.item() if is_leaf(v) else v for k, v in example.shared.items()}
    example = replace(example, shared=shared)
    with walking(walk, 4, 5):
        expected = call(case.entry.function, example)
        torch.compiler.reset()
        compiled = torch.compile(case.entry.function, fullgraph=True, backend="aot_eager")
        found = call(compiled, example)
        pairs = zip(*(torch.autograd.grad(x, leaves(example)) for x in (found, expected)), strict=True)
    torch.testing.assert_close(found, expected)
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs)
