"""What every sampler promises, and what each promises of its own."""

from collections import Counter
from itertools import chain

import pytest
import torch
from torch import Tensor

from common.distributed import rank, world_size
from common.errors import UserError
from common.sampling.batches import GlobalBatchSampler
from common.sampling.company import RankedLabelSampler, SameSamplesSampler, same_label_share
from common.sampling.labels import BatchBindingSampler, DistinctLabelSampler, MPerClassSampler
from common.sampling.lengths import SimilarLengthSampler
from common.sampling.neighbors import NeighborSampler, geographic_neighbors
from common.sampling.tasks import MixedTaskSampler, PartLastSampler, SingleTaskSampler
from tests.processes import on_processes

LABELS = torch.tensor([0] * 30 + [1] * 20 + [2] * 9 + [3] * 9 + [4] * 8 + [5] * 4)

GROUPS = torch.arange(80) // 3


def ring_neighbors(n: int = 80, k: int = 12) -> Tensor:
    """Neighbours of points on a ring: one step left and right, then two."""
    steps = torch.tensor([sign * step for step in range(1, k // 2 + 1) for sign in (-1, 1)])
    return (torch.arange(n)[:, None] + steps) % n


SAMPLERS = {
    "global": lambda seed: GlobalBatchSampler(80, 8, seed),
    "m_per_class": lambda seed: MPerClassSampler(LABELS, 8, 2, seed),
    "distinct": lambda seed: DistinctLabelSampler(LABELS, 4, seed),
    "distinct_repeats": lambda seed: DistinctLabelSampler(LABELS, 8, seed, repeats=True),
    "ranked": lambda seed: RankedLabelSampler(LABELS, 8, seed),
    "same_random": lambda seed: SameSamplesSampler(DistinctLabelSampler(LABELS, 4, seed)),
    "same_apart": lambda seed: SameSamplesSampler(DistinctLabelSampler(LABELS, 4, seed), torch.arange(80) % 7),
    "same_together": lambda seed: SameSamplesSampler(DistinctLabelSampler(LABELS, 4, seed), LABELS, together=True),
    "binding": lambda seed: BatchBindingSampler(LABELS, 16, seed),
    "tasks": lambda seed: SingleTaskSampler([30, 7, 43], [8, 4, 12], seed),
    "mixed_tasks": lambda seed: MixedTaskSampler([30, 12, 43], [6, 2, 4], seed),
    "part_last": lambda seed: PartLastSampler(80, torch.arange(3, 80, 4), 8, seed, whole_batches=12, part_batches=5),
    "similar_lengths": lambda seed: SimilarLengthSampler(torch.arange(80) % 23, 8, seed, window=4),
    "neighbors": lambda seed: NeighborSampler(ring_neighbors(), 8, seed, nearest=2, farther=2),
    "groups": lambda seed: NeighborSampler(ring_neighbors(), 8, seed, nearest=2, farther=2, groups=GROUPS),
}
every_sampler = pytest.mark.parametrize("make", SAMPLERS.values(), ids=SAMPLERS.keys())


@every_sampler
def test_two_processes_draw_disjoint_halves_of_the_batches_of_one(make):
    def work() -> tuple[list[list[int]], int]:
        sampler = make(3)
        return list(sampler), len(sampler)

    (first, length), (second, _) = on_processes(2, work)
    alone = list(make(3))
    assert [a + b for a, b in zip(first, second, strict=True)] == alone
    assert all(len(a) == len(b) and not set(a) & set(b) for a, b in zip(first, second, strict=True))
    assert length == len(alone) == len(make(3)) >= 2


@every_sampler
def test_order_depends_on_seed_and_epoch_and_nothing_else(make):
    first, sampler = list(make(1)), make(1)
    assert list(make(1)) == first != list(make(2))
    sampler.set_epoch(1)
    assert (list(sampler) != first) == sampler.reshuffle
    assert len(list(sampler)) == len(sampler)


@every_sampler
def test_a_resumed_sampler_goes_on_where_it_was(make):
    running, resumed = make(1), make(1)
    running.set_epoch(2)
    batches = iter(running)
    seen = [next(batches), next(batches)]
    resumed.load_state_dict(running.state_dict())
    rest = list(resumed)
    assert rest == list(batches)
    assert len(seen) + len(rest) == len(running)


@every_sampler
def test_no_sample_is_twice_in_a_batch(make):
    assert all(len(set(batch)) == len(batch) for batch in make(0))


@pytest.mark.parametrize("name", ["global", "distinct", "distinct_repeats", "tasks", "neighbors", "groups"])
def test_no_sample_is_twice_in_an_epoch(name):
    drawn = Counter(chain(*SAMPLERS[name](0)))
    assert max(drawn.values()) == 1
    assert set(drawn) <= set(range(80))


def test_a_part_comes_last_and_alone_in_later_epochs():
    sampler = SAMPLERS["part_last"](0)
    batches = list(sampler)
    assert len(batches) == 17
    assert max(Counter(chain(*batches[:10])).values()) == 1  # a pass over all
    assert all(index % 4 == 3 for index in chain(*batches[12:]))
    assert any(index % 4 != 3 for index in batches[11])
    assert max(Counter(chain(*batches[12:14])).values()) == 1  # a pass over the part's 20, of which 4 are left out
    sampler.set_epoch(1)
    later = list(sampler)
    assert len(later) == 5 and all(index % 4 == 3 for index in chain(*later))


def test_m_per_class_holds_so_many_of_each_and_favours_no_class():
    counts = Counter()
    sampler = MPerClassSampler(LABELS, 8, 2)
    for epoch in range(60):
        sampler.set_epoch(epoch)
        for batch in sampler:
            in_batch = Counter(LABELS[batch].tolist())
            assert sorted(in_batch.values()) == [2, 2, 2, 2]
            counts.update(in_batch)
    # 600 batches draw each of 6 classes with probability 4/6.
    assert all(abs(counts[label] / 2 - 400) < 50 for label in range(6))


def test_distinct_labels_give_all_the_batches_there_can_be():
    batches = list(SAMPLERS["distinct"](0))
    assert all(len(set(LABELS[batch].tolist())) == 4 for batch in batches)
    # Fifteen batches: 15 + 15 of the large labels and all 30 of the others. For sixteen, 16 + 16 + 30 fall short of 64.
    assert len(batches) == 15


def test_distinct_labels_with_repeats_use_all_samples_and_repeat_no_more_than_they_must():
    sampler = SAMPLERS["distinct_repeats"](0)
    assert sorted(chain(*sampler)) == list(range(80))
    # A label can be new to a batch as often as it has samples, and at most once in each of the ten batches.
    repeats = sum(len(batch) - len(set(LABELS[batch].tolist())) for batch in sampler)
    assert repeats == 80 - int(torch.bincount(LABELS).clamp(max=10).sum())


def test_bound_samples_are_the_same_in_every_batch_of_every_epoch():
    sampler = BatchBindingSampler(LABELS, 16)
    bound = set(sampler.bound)
    assert sorted(LABELS[sampler.bound].tolist()) == list(range(6))
    free = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        for batch in sampler:
            assert bound < set(batch)
            free += set(batch) - bound if epoch == 0 else []
    assert len(free) == len(set(free)) == 70


def test_a_batch_holds_one_task_of_its_own_size():
    batches = list(SAMPLERS["tasks"](0))
    task = torch.tensor([0] * 30 + [1] * 7 + [2] * 43)
    kinds = [set(task[batch].tolist()) for batch in batches]
    assert all(len(kind) == 1 for kind in kinds)
    assert Counter((kind.pop(), len(batch)) for kind, batch in zip(kinds, batches, strict=True)) == {
        (0, 8): 3,
        (1, 4): 1,
        (2, 12): 3,
    }


def test_batches_are_filled_with_the_nearest_and_some_farther_neighbours():
    sampler = NeighborSampler(ring_neighbors(), 8, nearest=2, farther=2)
    first = next(iter(sampler))
    anchor = first[0]
    distance = [min((x - anchor) % 80, (anchor - x) % 80) for x in first[:5]]
    assert distance[:3] == [0, 1, 1]
    assert all(2 <= d <= 6 for d in distance[3:])
    assert sorted(chain(*sampler)) == list(range(80))


@pytest.mark.parametrize("groups", [GROUPS, torch.arange(80) % 9, torch.arange(80).clamp(max=71)])
def test_samples_of_a_group_never_meet_and_every_epoch_is_as_long(groups):
    sampler = NeighborSampler(ring_neighbors(), 8, nearest=2, farther=2, groups=groups)
    largest = int(groups.bincount().max())
    for epoch in range(50):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert len(batches) == len(sampler) == 80 // 8 - largest + 1
        assert all(groups[batch].unique().numel() == 8 for batch in batches)


def test_new_neighbours_take_effect_in_the_next_pass_and_missing_ones_are_passed_over():
    sampler = NeighborSampler(torch.full((80, 4), -1), 8, nearest=2, farther=2)
    alone = list(sampler)
    assert sorted(chain(*alone)) == list(range(80))
    sampler.neighbors = ring_neighbors()
    assert list(sampler) != alone
    sampler.neighbors = ring_neighbors(79)
    with pytest.raises(UserError, match="neighbors has shape"):
        next(iter(sampler))


def test_geographic_neighbours_follow_the_great_circle():
    """At 80 degrees north a step of 10 degrees in longitude is shorter than one of 2.5 degrees in latitude."""
    places = torch.tensor([[80.0, 0.0], [80.0, 10.0], [82.5, 0.0], [80.0, 179.0], [80.0, -179.0]])
    found = geographic_neighbors(places, 2)
    assert found[0].tolist() == [1, 2]
    assert found[3, 0] == 4


def test_a_place_is_no_neighbour_of_itself_even_among_its_doubles():
    places = torch.tensor([[10.0, 10.0]] * 5 + [[11.0, 11.0]])
    found = geographic_neighbors(places, 2)
    assert all(row not in neighbours for row, neighbours in enumerate(found.tolist()))
    with pytest.raises(UserError, match="k is 6"):
        geographic_neighbors(places, 6)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: MPerClassSampler(LABELS, 8, 3), "per_class is 3; it must divide"),
        (lambda: MPerClassSampler(LABELS, 40, 4), "data.batch_size is 40"),
        (lambda: MPerClassSampler(LABELS, 10, 5), "smallest class has 4"),
        (lambda: DistinctLabelSampler(LABELS, 8), "6 labels do not fill it"),
        (
            lambda: PartLastSampler(80, torch.arange(7), 8, whole_batches=1, part_batches=1),
            "data.batch_size is 8; the part that comes last has 7 samples",
        ),
        (lambda: BatchBindingSampler(LABELS, 6), "must exceed the number of classes, 6"),
        (lambda: NeighborSampler(ring_neighbors(), 40, groups=LABELS % 2), "in groups may not fill a batch"),
        (lambda: SingleTaskSampler([10, 20], [4]), "batch_sizes has 1 entries"),
        (lambda: SingleTaskSampler([10, 20], 12), "batch_sizes holds 12 for a data set of 10"),
        (lambda: MixedTaskSampler([10, 20], [4]), "shares has 1 entries; there are 2 data sets"),
        (lambda: MixedTaskSampler([10, 20], [4, 0]), "shares holds 0 for a data set of 20"),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()


@pytest.mark.parametrize("batch_sizes", [[4, 6], [6, 8]])
def test_batch_sizes_that_do_not_all_divide_by_the_processes_are_refused(monkeypatch, batch_sizes):
    monkeypatch.setattr("common.sampling.batches.world_size", lambda: 4)
    with pytest.raises(UserError, match="multiple of the 4 processes"):
        next(iter(SingleTaskSampler([30, 43], batch_sizes)))


def test_mixed_batches_and_their_halves_hold_a_share_of_each_data_set():
    batches = torch.tensor(list(MixedTaskSampler([30, 12, 43], [6, 2, 4])))
    sets = torch.bucketize(batches, torch.tensor([30, 42]), right=True)
    for part, share in ((sets, [6, 2, 4]), (sets[:, :6], [3, 1, 2]), (sets[:, 6:], [3, 1, 2])):
        assert all(row.bincount().tolist() == share for row in part)
    assert len(batches) == 5 and len(batches.unique()) == 60


def test_batches_of_similar_lengths_hold_little_padding():
    lengths = torch.arange(320) % 37
    batches = [lengths[batch] for batch in SimilarLengthSampler(lengths, 16, 0)]
    plain = [lengths[batch] for batch in GlobalBatchSampler(320, 16, 0)]
    spread, usual = (sum(int(b.max() - b.min()) for b in found) / len(found) for found in (batches, plain))
    assert spread < 0.3 * usual
    assert sorted(torch.cat(batches).tolist()) == sorted(lengths.tolist())
    assert [int(b.max()) for b in batches] != sorted(int(b.max()) for b in batches)


def counted(sampler: GlobalBatchSampler) -> Counter:
    return Counter(chain(*sampler))


@pytest.mark.parametrize("epoch", [0, 3])
def test_other_company_has_the_same_samples(epoch: int) -> None:
    drawn = DistinctLabelSampler(LABELS, 4, 5)
    drawn.set_epoch(epoch)
    classes = torch.arange(80) % 7
    for other in (
        SameSamplesSampler(DistinctLabelSampler(LABELS, 4, 5)),
        SameSamplesSampler(DistinctLabelSampler(LABELS, 4, 5), classes),
        SameSamplesSampler(DistinctLabelSampler(LABELS, 4, 5), LABELS, together=True),
    ):
        other.set_epoch(epoch)
        assert counted(other) == counted(drawn) and len(other) == len(drawn)
        assert list(other) != list(drawn)


def test_company_by_labels_repeats_them_as_little_or_as_much_as_can_be() -> None:
    drawn = GlobalBatchSampler(80, 8, 0)
    for labels, together, repeats in (
        (torch.arange(80) % 8, False, 0),  # ten of each of eight: once in each batch
        (LABELS, False, 80 - int(LABELS.bincount().clamp(max=10).sum())),
        (torch.arange(80) % 10, True, 10 * 7),  # eight of each of ten: a batch of its own
    ):
        batches = list(SameSamplesSampler(drawn, labels, together=together))
        assert sum(len(batch) - len(set(labels[batch].tolist())) for batch in batches) == repeats


def test_batches_by_rank_hold_each_label_once_while_the_smallest_lasts() -> None:
    labels = torch.tensor([0] * 10 + [1] * 4 + [2] * 6 + [3] * 4)
    sampler = RankedLabelSampler(labels, 4, seed=3)
    batches = list(sampler)
    assert sorted(chain(*batches)) == list(range(24))
    assert all(labels[batch].sort().values.tolist() == [0, 1, 2, 3] for batch in batches[:4])
    assert [labels[batch].tolist() for batch in batches[4:]] == [[0, 2, 0, 2], [0, 0, 0, 0]]
    sampler.set_epoch(5)
    assert list(sampler) == batches, "every epoch alike"
    assert list(RankedLabelSampler(labels, 4, seed=4)) != batches


@pytest.mark.parametrize("world", [1, 2, 4])
def test_the_share_of_equal_labels_is_that_of_all_pairs(world: int) -> None:
    labels = torch.tensor([1, 1, 2, 3, 1, 2, 9, 4])
    pairs = [(i, j) for i in range(8) for j in range(i)]
    expected = sum(int(labels[i] == labels[j]) for i, j in pairs) / len(pairs)

    def share() -> float:
        return float(same_label_share(labels[8 * rank() // world_size() : 8 * (rank() + 1) // world_size()]))

    found = on_processes(world, share) if world > 1 else [share()]
    assert found == pytest.approx([expected] * world)


@pytest.mark.parametrize("name", ["distinct", "ranked", "same_random", "same_apart", "same_together"])
def test_four_processes_draw_quarters_of_the_batches_of_one(name: str) -> None:
    parts = on_processes(4, lambda: list(SAMPLERS[name](3)))
    assert [[i for part in batch for i in part] for batch in zip(*parts, strict=True)] == list(SAMPLERS[name](3))


def test_company_without_labels_to_go_by_is_refused() -> None:
    drawn = GlobalBatchSampler(80, 8, 0)
    with pytest.raises(UserError, match="labels of 79 samples: expected 80"):
        SameSamplesSampler(drawn, torch.arange(79))
    with pytest.raises(UserError, match="together: needs labels"):
        SameSamplesSampler(drawn, together=True)
