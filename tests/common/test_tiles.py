"""What holds of tiles on a GPU, as far as it shows without one."""

import pytest
import torch

from common.errors import UserError
from common.tiled.backends import Backend, chosen, using
from common.tiled.tiles import current, full_precision, tf32, tiling

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
    with pytest.raises(UserError, match="backend 'triton'"), using("triton"):
        pass


def test_tiles_of_a_gpu_are_large_and_those_of_a_block_come_first() -> None:
    assert current(GPU).rows * current(GPU).columns > 30 * current(CPU).rows * current(CPU).columns
    with tiling(3, 4):
        assert (current(GPU).rows, current(GPU).columns) == (3, 4)
