"""State kept by sample id: against a dictionary, on several processes against one, through a checkpoint."""

import io
import re

import pytest
import torch
from torch import Tensor

from common.errors import UserError
from common.sampling.per_sample import PerSample
from tests.processes import on_processes

IDS = torch.tensor([40, 3, 7, 1_000_000_007, 12, 5, 99])


def batches(steps: int = 6, size: int = 5) -> list[tuple[Tensor, Tensor]]:
    """Ids, some of them twice in a batch, and a row for each."""
    draw = torch.Generator().manual_seed(0)
    return [
        (
            IDS[torch.randint(len(IDS), (size,), generator=draw)],
            torch.randn(size, 2, generator=draw, dtype=torch.double),
        )
        for _ in range(steps)
    ]


def table(**arguments) -> PerSample:
    made = PerSample(2, **arguments).double()
    made.cover(IDS)
    return made


def test_averages_are_those_of_a_dictionary() -> None:
    state, rows = table(start=0.5), {}
    for ids, values in batches():
        found = state.average(ids, values, 0.3)
        moved: dict[int, list[list[float]]] = {}
        for i, value in zip(ids.tolist(), values.tolist(), strict=True):
            old = rows.get(i, value)
            moved.setdefault(i, []).append([0.7 * o + 0.3 * v for o, v in zip(old, value, strict=True)])
        rows |= {i: [sum(column) / len(new) for column in zip(*new, strict=True)] for i, new in moved.items()}
        expected = torch.tensor([rows[i] for i in ids.tolist()], dtype=torch.double)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(state.read(ids), expected, rtol=1e-12, atol=1e-12)
    untouched = [i for i in IDS.tolist() if i not in rows]
    assert (state.read(torch.tensor(untouched, dtype=torch.int64)) == 0.5).all()


def test_a_row_may_start_from_where_it_is() -> None:
    state = table(start=0.5)
    state.average(IDS[:1], torch.ones(1, 2), 0.2, first="start")
    torch.testing.assert_close(state.read(IDS[:1]), torch.full((1, 2), 0.6, dtype=torch.double))
    assert state.visits(IDS).tolist() == [1, 0, 0, 0, 0, 0, 0]


def test_rows_start_as_a_function_of_their_ids_and_stand_in_their_order() -> None:
    state = table(start=lambda ids: ids[:, None].double().expand(-1, 2))
    assert torch.equal(state.read(IDS[[3, 0]])[:, 0], IDS[[3, 0]].double())
    assert torch.equal(state.rows[:, 1], IDS.sort().values.double()) and len(state) == 7
    assert torch.equal(state.at(state.places(IDS)), state.read(IDS))


def test_one_row_to_start_from_becomes_a_row_of_each() -> None:
    state = table(start=lambda ids: torch.zeros(1, 2).expand(len(ids), -1))
    state.write(IDS[:1], torch.ones(1, 2))
    assert state.rows.sum() == 2


def trained(share: slice | None, world: int) -> dict[str, Tensor]:
    """The table after all batches, of which each process has its share; the last one may have nothing."""
    state = table()
    for ids, values in batches(size=7):
        if share is None:
            rank = torch.distributed.get_rank()
            cuts = {2: [0, 3, 7], 4: [0, 1, 5, 7, 7]}[world]
            own = slice(cuts[rank], cuts[rank + 1])
        else:
            own = share
        state.average(ids[own], values[own], 0.25)
    return dict(state.state_dict())


@pytest.mark.parametrize("world", [2, 4])
def test_processes_hold_the_same_rows_as_one(world: int) -> None:
    alone = trained(slice(None), 1)
    for found in on_processes(world, lambda: trained(None, world)):
        assert all(torch.equal(found[name], value) for name, value in alone.items()), "to the last bit"


def test_a_checkpoint_brings_rows_and_ids() -> None:
    state, (first, *rest) = table(), batches()
    state.average(*first, 0.4)
    file = io.BytesIO()
    torch.save(state.state_dict(), file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    loaded, covered = PerSample(2).double(), table()
    for other in (loaded, covered):
        other.load_state_dict(saved)
        for ids, values in rest:
            other.average(ids, values, 0.4)
    for ids, values in rest:
        state.average(ids, values, 0.4)
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in state.state_dict().items())
    assert torch.equal(covered.rows, state.rows)
    elsewhere = PerSample(2)
    elsewhere.cover(IDS + 1)
    with pytest.raises(UserError, match=r"state of 7 samples: expected that of the 7 ids that are covered"):
        elsewhere.load_state_dict(saved)


def test_rows_that_are_read_are_copies() -> None:
    state, query = table(start=1.0), torch.randn(3, 2, dtype=torch.double, requires_grad=True)
    rows, everything = state.read(IDS[:3]), state.rows
    loss = (query * rows).sum().square()
    state.write(IDS[:3], torch.zeros(3, 2))
    loss.backward()
    assert (everything == 1).all() and (state.read(IDS[:3]) == 0).all() and query.grad is not None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.read(torch.tensor([3, 4])), "id 4: expected one of the 7 that are covered, 3 to 1000000007"),
        (lambda s: s.write(torch.tensor([-1]), torch.zeros(1, 2)), "id -1: expected one of the 7"),
        (lambda s: s.write(torch.tensor([2**40]), torch.zeros(1, 2)), "id 1099511627776: expected one of"),
        (lambda s: s.read(torch.tensor([3.0])), "ids are float32: expected integers"),
        (lambda s: s.write(IDS[:2], torch.zeros(1, 2)), "rows (1, 2): expected (2, 2)"),
        (
            lambda s: s.average(IDS[:1], torch.zeros(1, 2), 1.5),
            "weight 1.5: expected a finite number",
        ),
        (lambda s: s.cover(IDS[:3]), "state of 3 samples: expected that of the 7 ids that are covered"),
        (lambda s: PerSample(2).read(IDS), "no sample has a row yet"),
        (lambda s: PerSample(2).cover(torch.tensor([1, 1])), "ids of 2 samples: expected at least one, each once"),
        (lambda s: PerSample(2, start=lambda ids: ids).cover(IDS), "start (7,): expected (7, 2), a row for each id"),
    ],
)
def test_what_does_not_fit_is_named(call, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        call(table())
