"""Mined negatives, filtered pairs and the queue against plain loops, on one process and two."""

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from common.distributed import Exchange
from common.errors import UserError
from common.sampling.batches import ResumableLoader
from common.sampling.mining import (
    FalseNegatives,
    draw_hard_negatives,
    hardest_of_labels,
    mine_hard_negatives,
    negative_weights,
)
from common.sampling.neighbors import NeighborSampler, RefreshNeighbors
from common.sampling.queue import KeyQueue
from common.scores import Scores
from tests.processes import on_processes


def unit(n: int, seed: int, d: int = 6) -> Tensor:
    return F.normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed)), dim=1)


def mined(query, key, k, positive, allowed) -> tuple[list[list[int]], list[list[float]]]:
    columns, similarities = [], []
    for i in range(len(query)):
        found = [(float(query[i] @ key[j]), j) for j in range(len(key)) if allowed(i, j) and j != positive[i]]
        found = sorted(found, reverse=True)[:k] + [(float("-inf"), -1)] * k
        columns.append([j for _, j in found[:k]])
        similarities.append([s for s, _ in found[:k]])
    return columns, similarities


@pytest.mark.parametrize("max_ratio", [None, 0.5])
@pytest.mark.parametrize("by_id", [False, True])
def test_mined_negatives_equal_a_plain_search(max_ratio, by_id):
    query, key, ids = unit(23, 0), unit(23, 1), torch.arange(23) % 7
    key = F.normalize(key + 2 * query, dim=1)
    positive = torch.arange(23)
    column, similarity = mine_hard_negatives(
        query, key, 18, query_ids=ids if by_id else None, key_ids=ids if by_id else None, max_ratio=max_ratio, chunk=10
    )

    def allowed(i: int, j: int) -> bool:
        other = not by_id or ids[i] != ids[j]
        return bool(other and (max_ratio is None or query[i] @ key[j] <= max_ratio * (query[i] @ key[i])))

    columns, similarities = mined(query, key, 18, positive, allowed)
    assert column.tolist() == columns
    torch.testing.assert_close(similarity, torch.tensor(similarities))
    assert bool((column == -1).any()) == (max_ratio is not None)


def test_positives_elsewhere_than_at_the_own_position():
    query, key, positive = unit(5, 0), unit(12, 1), torch.tensor([3, 11, 0, 3, 7])
    column, _ = mine_hard_negatives(query, key, 4, positive=positive)
    assert column.tolist() == mined(query, key, 4, positive, lambda i, j: True)[0]
    with pytest.raises(UserError, match="5 queries and 12 keys"):
        mine_hard_negatives(query, key, 4)
    with pytest.raises(UserError, match="k is 13"):
        mine_hard_negatives(query, key, 13, positive=positive)
    with pytest.raises(UserError, match="go together"):
        mine_hard_negatives(query, key, 3, positive=positive, query_ids=positive)


@pytest.mark.parametrize("world", [2, 4])
def test_processes_share_the_mining(world):
    query, key = unit(11, 0), unit(11, 1)
    column, similarity = mine_hard_negatives(query, key, 3, max_ratio=0.9)
    for theirs in on_processes(world, lambda: mine_hard_negatives(query, key, 3, max_ratio=0.9)):
        torch.testing.assert_close(theirs[0], column, rtol=0, atol=0)
        torch.testing.assert_close(theirs[1], similarity)


def filtered(kind: str, query: Tensor, key: Tensor, exchange: Exchange = Exchange.GATHER) -> Scores:
    pairs = (
        FalseNegatives.by_positive(query, key, 0.5, exchange=exchange)
        if kind == "positive"
        else FalseNegatives.by_features(query, 0.6, exchange=exchange)
    )
    return Scores(query, key, exchange=exchange).exclude(pairs)


@pytest.mark.parametrize("kind", ["positive", "features"])
def test_false_negatives_leave_the_matrix_and_the_own_key_stays(kind):
    query = unit(20, 0, d=3)
    key = F.normalize(query + 0.5 * unit(20, 1, d=3), dim=1)
    left_out = 0
    matrix = filtered(kind, query, key).matrix()
    for i in range(20):
        for j in range(20):
            alike = query[i] @ key[j] > 0.5 * (query[i] @ key[i]) if kind == "positive" else query[i] @ query[j] > 0.6
            assert bool(matrix[i, j].isneginf()) == bool(alike and i != j)
            left_out += int(alike and i != j)
    assert 20 < left_out < 300


@pytest.mark.parametrize("kind", ["positive", "features"])
@pytest.mark.parametrize("exchange", [Exchange.GATHER, Exchange.RING])
def test_false_negatives_of_other_processes_leave_too(kind, exchange):
    query = unit(9, 0, d=3)
    key = F.normalize(query + 0.5 * unit(9, 1, d=3), dim=1)
    expected = filtered(kind, query, key).logsumexp(dim=1)

    def work() -> Tensor:
        own = slice(0, 5) if torch.distributed.get_rank() == 0 else slice(5, 9)
        return filtered(kind, query[own], key[own], exchange).logsumexp(dim=1)

    torch.testing.assert_close(torch.cat(on_processes(2, work)), expected)


@pytest.mark.parametrize("sizes", [[3, 3, 3], [2, 5, 4, 1, 6], [7, 0, 16, 3]])
def test_the_queue_holds_the_latest_keys_whatever_the_batch(sizes):
    queue, everything = KeyQueue(7, 2), torch.empty(0, 2)
    start = 0
    for step, size in enumerate(sizes):
        keys, ids = torch.randn(size, 2), torch.arange(start, start + size)
        queue.enqueue(keys, ids)
        start, everything = start + size, torch.cat([everything, keys])
        assert len(queue) == min(7, start), step
        order = queue.ids.argsort()
        assert queue.ids[order].tolist() == list(range(max(0, start - 7), start))
        torch.testing.assert_close(queue.keys[order], everything[-7:])


def test_a_queue_is_filled_and_asks_for_no_more_than_it_takes():
    batches = iter([torch.full((3, 2), float(step)) for step in range(4)])
    queue = KeyQueue(7, 2)
    queue.enqueue(torch.full((1, 2), -1.0))
    queue.fill(batches)
    assert sorted(queue.keys[:, 0].tolist()) == [-1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    queue.fill(batches)
    assert [float(rows[0, 0]) for rows in batches] == [2.0, 3.0]


def test_the_queue_may_be_written_before_the_backward_pass_and_survives_a_checkpoint():
    queue, query = KeyQueue(4, 3), torch.randn(2, 3, requires_grad=True)
    queue.enqueue(torch.randn(3, 3))
    keys = queue.keys
    loss = (query @ keys.T).square().sum()
    queue.enqueue(torch.randn(3, 3))
    loss.backward()
    torch.testing.assert_close(query.grad, 2 * query.detach() @ keys.T @ keys)
    other = KeyQueue(4, 3)
    assert len(other) == 0
    other.load_state_dict(queue.state_dict())
    assert len(other) == 4
    more = torch.randn(1, 3)
    queue.enqueue(more)
    other.enqueue(more)
    assert torch.equal(other.keys, queue.keys) and len(other) == 4


def test_processes_hold_the_same_queue():
    keys = torch.randn(7, 2)
    alone = KeyQueue(5, 2)
    alone.enqueue(keys, torch.arange(7))

    def work() -> tuple[Tensor, Tensor]:
        queue, own = KeyQueue(5, 2), slice(0, 3) if torch.distributed.get_rank() == 0 else slice(3, 7)
        queue.enqueue(keys[own], torch.arange(7)[own])
        return queue.keys, queue.ids

    for theirs, ids in on_processes(2, work):
        assert torch.equal(theirs, alone.keys) and torch.equal(ids, alone.ids)


class Places(L.LightningDataModule):
    """Twelve samples whose mined neighbours are another list at every call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def train_dataloader(self) -> ResumableLoader:
        sampler = NeighborSampler(torch.full((12, 1), -1), 4, nearest=1, farther=0)
        return ResumableLoader(TensorDataset(torch.arange(12)), batch_sampler=sampler)

    def neighbors(self, module: nn.Module) -> Tensor:
        self.calls += 1
        return torch.arange(12)[:, None].roll(module.current_epoch + 1, 0)


class Recorder(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen: list[list[int]] = []

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        self.seen.append(batch[0].tolist())
        return self.weight.sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("resume_after", [2, 3, 5, 6, 8])
def test_neighbours_are_refreshed_every_other_epoch_and_resumed(tmp_path, resume_after):
    """Three batches an epoch, six epochs, refreshed behind the 2nd, 4th and 6th."""

    def run(checkpoint: str | None, folder: str) -> tuple[list[list[int]], Places]:
        save = L.pytorch.callbacks.ModelCheckpoint(
            tmp_path / folder, "{step}", every_n_train_steps=1, save_top_k=-1, auto_insert_metric_name=False
        )
        # Epoch ends are checkpoints of their own: they are saved behind the refresh.
        ends = L.pytorch.callbacks.ModelCheckpoint(
            tmp_path / folder, "end{step}", every_n_epochs=1, save_top_k=-1, auto_insert_metric_name=False
        )
        module, data = Recorder(), Places()
        L.Trainer(
            max_epochs=6,
            accelerator="cpu",
            use_distributed_sampler=False,
            callbacks=[save, ends, RefreshNeighbors(every_n_epochs=2)],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        ).fit(module, datamodule=data, ckpt_path=checkpoint)
        return module.seen, data

    whole, data = run(None, "whole")
    assert data.calls == 3
    # In epochs 2 and 3 the neighbour of i is i - 2: a batch holds whole pairs, or one cut at its end.
    assert all((batch[0] - batch[1]) % 12 == 2 for batch in (whole[6], whole[9]))
    assert all((batch[0] - batch[1]) % 12 == 4 for batch in (whole[12], whole[15]))
    name = f"end{resume_after}" if resume_after % 3 == 0 else str(resume_after)
    resumed, _ = run(tmp_path / "whole" / f"{name}.ckpt", "resumed")
    assert resumed == whole[resume_after:]


def test_hard_negatives_are_drawn_by_their_weight_and_never_a_positive():
    logits = 3 * torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    logits[2, 2] = 1e4  # a positive far ahead leaves the softmax of the others without any digits
    positives = torch.eye(6, 8, dtype=torch.bool)
    positives[1, 5] = True
    weights = negative_weights(logits, positives)
    counts, steps = torch.zeros(6, 8), 4000
    for step in range(steps):
        drawn = draw_hard_negatives(logits, positives, torch.full((6,), (step + 0.5) / steps))
        counts[torch.arange(6), drawn] += 1
    assert not counts[positives].any()
    for i in range(6):
        raw = [0.0 if positives[i, j] else float(logits[i, j].double().exp()) for j in range(8)]
        expected = torch.tensor(raw, dtype=torch.float64) / sum(raw)
        torch.testing.assert_close(weights[i], expected)
        torch.testing.assert_close(counts[i].double() / steps, expected, atol=2 / steps, rtol=0)
    last = draw_hard_negatives(logits, positives, torch.full((6,), 1 - 2**-24))
    assert ((last < 8) & (last >= 0)).all() and not positives[torch.arange(6), last].any()
    # Weights that have gone wrong are for the loss to tell, not for an index beyond the batch.
    assert (draw_hard_negatives(torch.full((6, 8), torch.nan), positives, torch.rand(6)) < 8).all()
    with pytest.raises(UserError, match="no negatives to draw"):
        draw_hard_negatives(logits[:, :1], torch.ones(6, 1, dtype=torch.bool), torch.rand(6))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pairs_are_told_to_be_alike_outside_of_autocast(dtype: torch.dtype) -> None:
    draw = torch.Generator().manual_seed(0)
    features = torch.nn.functional.normalize(torch.randn(64, 32, generator=draw), dim=1).to(dtype)
    features[1::2] = features[0::2]
    everything = slice(0, 64)
    for alike in (
        lambda: FalseNegatives.by_features(features, 0.99),
        lambda: FalseNegatives.by_positive(features, features, 0.99),
    ):
        want = alike().tile(everything, everything)
        assert want.sum() == 64
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(alike().tile(everything, everything), want)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_mining_is_the_same_in_every_precision_and_under_autocast(dtype: torch.dtype) -> None:
    query, key = (torch.randint(-8, 9, (30, 6), generator=torch.Generator().manual_seed(s)) / 8 for s in (0, 1))
    want = mine_hard_negatives(query, key, 5, max_ratio=0.9)
    with torch.autocast("cpu", torch.bfloat16):
        got = mine_hard_negatives(query.to(dtype), key.to(dtype), 5, max_ratio=0.9)
    assert torch.equal(got[1], want[1])


def test_what_is_not_finite_is_not_mined() -> None:
    bad = unit(6, 0)
    bad[2, 1] = torch.nan
    with pytest.raises(UserError, match="query embeddings hold NaN"):
        mine_hard_negatives(bad, unit(6, 1), 2)
    with pytest.raises(UserError, match=r"positive \(6, 1\): expected \(6,\)"):
        mine_hard_negatives(unit(6, 0), unit(6, 1), 2, positive=torch.arange(6)[:, None])
    with pytest.raises(UserError, match=r"ids \(3, 1\): expected \(3,\)"):
        KeyQueue(4, 2).enqueue(torch.ones(3, 2), torch.zeros(3, 1).long())


def test_the_hardest_of_labels_are_those_of_a_loop() -> None:
    rows, labels = 3 * unit(9, 4), torch.tensor([0, 1, 0, 2, 1, 0, 3, 2, 0])
    first, second = hardest_of_labels(rows, labels)
    directions = F.normalize(rows, dim=1)
    for i in range(9):
        cosine = [float(directions[i] @ directions[j]) for j in range(9)]
        same = [j for j in range(9) if j != i and labels[j] == labels[i]]
        assert int(first[i]) == (min(same, key=cosine.__getitem__) if same else i)
        assert int(second[i]) == max((j for j in range(9) if labels[j] != labels[i]), key=cosine.__getitem__)
    alone = hardest_of_labels(rows[:3], torch.zeros(3, dtype=torch.int64))[1]
    assert alone.tolist() == [0, 1, 2]
