"""Blocks of a matrix that threads work on side by side."""

import os
import threading

import pytest
import torch
from torch.nn import functional as F

from common.losses.info_nce import symmetric_info_nce
from common.losses.nt_xent import nt_xent
from common.scores import Scores
from common.tiled.threads import at_once, rounds, side_by_side
from common.tiled.tiles import tiling

CPU = torch.device("cpu")


def covered(rows: int, columns: int, count: int, mirrored: bool) -> torch.Tensor:
    """How often each entry is visited, after a look at each round: no two blocks share a row or a column."""
    seen = torch.zeros(rows, columns)
    with side_by_side(count):
        for together in rounds(rows, columns, CPU, mirrored=mirrored):
            assert len(together) <= count
            mine = [set(range(a.start, a.stop)) | {-1 - i for i in range(b.start, b.stop)} for a, b in together]
            if mirrored:
                mine = [set(range(a.start, a.stop)) | set(range(b.start, b.stop)) for a, b in together]
            assert sum(map(len, mine)) == len(set().union(*mine))
            for above, across in together:
                seen[above, across] += 1
    return seen


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize(("rows", "columns"), [(8, 8), (9, 13), (31, 10), (3, 2)])
def test_every_pair_is_visited_once(rows: int, columns: int, count: int) -> None:
    assert covered(rows, columns, count, mirrored=False).eq(1).all()


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [1, 8, 13])
def test_of_a_mirrored_matrix_every_pair_is_visited_one_way(size: int, count: int) -> None:
    seen = covered(size, size, count, mirrored=True)
    assert torch.equal(seen.triu(), torch.ones(size, size).triu())


def test_small_matrices_and_gpus_have_one_thread() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        assert len(rounds(300, 300, CPU)[0]) == 1 and len(rounds(600, 9000, CPU)[0]) == 2
        assert len(rounds(5000, 5000, CPU)[0]) == 4 and len(rounds(5000, 5000, torch.device("cuda"))[0]) == 1
        assert len(rounds(5000, 3, CPU, by_row=True)[0]) == 4
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_same_numbers_come_out_every_time(mirrored: bool) -> None:
    draw = torch.Generator().manual_seed(0)
    query, key = (F.normalize(torch.randn(200, 8, generator=draw), dim=1).requires_grad_() for _ in range(2))

    def once(count: int) -> tuple[torch.Tensor, ...]:
        with side_by_side(count), tiling(16, 8, 0, 9000):
            loss = (nt_xent if mirrored else symmetric_info_nce)(query, key, temperature=0.1)
            return loss, *torch.autograd.grad(loss, (query, key))

    one, three, again = once(1), once(3), once(3)
    assert all(map(torch.equal, three, again))
    for ours, theirs in zip(three, one, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_equal_scores_come_in_the_order_of_their_columns() -> None:
    scores = Scores(torch.ones(40, 2), torch.ones(30, 2))
    with tiling(7, 4):
        expected = scores.topk(5)[1]
        with side_by_side(3):
            assert torch.equal(scores.topk(5)[1], expected)


def test_threads_of_torch_are_set_back_and_failures_are_heard() -> None:
    seen, here = [], threading.get_ident()

    def failing() -> None:
        seen.append((torch.get_num_threads(), threading.get_ident() == here, torch.is_grad_enabled()))
        raise ZeroDivisionError

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        with torch.no_grad(), pytest.raises(ZeroDivisionError):
            at_once([lambda: None, failing])
        assert seen == [(1, False, False)] and torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_under_inference_mode() -> None:
    with torch.inference_mode(), side_by_side(2), tiling(4, 3):
        query = torch.randn(20, 4)
        torch.testing.assert_close(Scores(query, query).logsumexp(dim=0), (query @ query.T).logsumexp(dim=0))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_starts_threads_of_its_own() -> None:
    query = torch.randn(20, 4)
    with side_by_side(2), tiling(4, 3):
        expected = Scores(query, query).sum(torch.exp)
        child = os.fork()
        if not child:
            found = Scores(query, query).sum(torch.exp)
            os._exit(0 if torch.equal(found, expected) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_jobs_of_two_callers_do_not_wait_for_each_other() -> None:
    query = torch.randn(60, 4)
    with side_by_side(2), tiling(4, 3):
        expected = Scores(query, query).sum(torch.exp)
        found: list[torch.Tensor] = []
        callers = [threading.Thread(target=lambda: found.append(Scores(query, query).sum(torch.exp))) for _ in range(4)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join(timeout=60)
    assert len(found) == 4 and all(torch.allclose(one, expected) for one in found)
