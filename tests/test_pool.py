"""The pool of processes survives a function that fails on one of them."""

import pytest
import torch
import torch.distributed as dist

from tests.pool import run


def count() -> float:
    total = torch.ones(1)
    dist.all_reduce(total)
    return float(total)


def fail_on_one() -> float:
    if dist.get_rank() == 1:
        raise ValueError("on purpose")
    return count()


def test_a_failure_is_reported_and_the_next_call_gets_a_fresh_group() -> None:
    assert run(2, count) == [2.0, 2.0]
    with pytest.raises(AssertionError, match=r"process 1 of 2(.|\n)*on purpose"):
        run(2, fail_on_one)
    assert run(2, count) == [2.0, 2.0]
