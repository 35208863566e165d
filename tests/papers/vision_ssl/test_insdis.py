"""Instance discrimination: the bank and Z against a loop, draws that belong to a sample, ids that are none of ours."""

import math
from types import SimpleNamespace

import pytest
import torch

from common.batches import Images
from common.errors import UserError
from papers.vision_ssl.insdis.module import InsDis

IDS = torch.tensor([3, 40, 8, 21, 5, 90, 17])


def batch(seed: int, which: list[int], views: int = 1) -> Images:
    pixels = torch.rand(views, len(which), 1, 16, 16, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
    return Images(pixels, torch.zeros(len(which)).long(), IDS[which])


def module(**arguments) -> InsDis:
    torch.manual_seed(0)
    made = InsDis(width=8, projection_dim=6, **{"negatives": 4, **arguments}).double().train()
    made._trainer = SimpleNamespace(global_step=0, datamodule=SimpleNamespace(training_ids=lambda: IDS))
    made.setup("fit")
    made.log_loss = lambda loss: loss  # without a trainer there is no log
    return made


def score(row: list[float], other: list[float], temperature: float) -> float:
    return math.exp(sum(a * b for a, b in zip(row, other, strict=True)) / temperature)


def loop(rows: list[list[float]], bank: list[list[float]], columns: list[list[int]], z: float, t: float) -> float:
    """Equations 4 to 7 as they are written, the noise drawn m times from N rows."""
    total, noise = 0.0, (len(columns[0]) - 1) / len(bank)
    for row, places in zip(rows, columns, strict=True):
        own, *others = [score(row, bank[k], t) / z for k in places]
        total -= math.log(own / (own + noise)) + sum(math.log(noise / (other + noise)) for other in others)
    return total / len(rows)


@pytest.mark.parametrize("views", [1, 3])
def test_loss_bank_and_constant_are_those_of_a_loop(views: int, monkeypatch: pytest.MonkeyPatch) -> None:
    insdis, z, seen = module(temperature=0.2, bank_momentum=0.3), 0.0, []
    plain = insdis.discriminate
    monkeypatch.setattr(insdis, "discriminate", lambda *given: seen.append(given) or plain(*given))
    order, bank = IDS.sort().values.tolist(), insdis.bank.rows.tolist()
    assert all(abs(x) <= (3 / 6) ** 0.5 for row in bank for x in row)
    for step, which in enumerate(([0, 1, 2], [2, 4, 0], [5, 6, 2])):
        data = batch(step, which, views)
        insdis._trainer.global_step = step
        loss = float(insdis.training_step(data, step).detach())
        rows, _, columns = (x.tolist() for x in seen[-1])
        assert [row[0] for row in columns] == [order.index(i) for i in data.ids.tolist()] * views
        if step == 0:
            scores = [score(row, bank[k], 0.2) for row, places in zip(rows, columns, strict=True) for k in places]
            z = 7 * sum(scores) / len(scores)
        assert loss == pytest.approx(
            loop(rows, bank, columns, z, 0.2), rel=1e-5
        )  # ours adds 1e-7, as the released code
        for i, place in enumerate(places[0] for places in columns[:3]):
            mean = [sum(rows[v * 3 + i][d] for v in range(views)) / views for d in range(6)]
            moved = [0.3 * old + 0.7 * new for old, new in zip(bank[place], mean, strict=True)]
            length = math.sqrt(sum(x * x for x in moved))
            bank[place] = [x / length for x in moved]
        torch.testing.assert_close(insdis.bank.rows, torch.tensor(bank, dtype=torch.double))
        assert math.exp(float(insdis.log_z(*[torch.zeros(1, 6)] * 3, temperature=0.2))) == pytest.approx(z, rel=1e-9)


def test_draws_and_first_rows_belong_to_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    insdis, columns = module(negatives=50), []
    monkeypatch.setattr(insdis, "discriminate", lambda *given: columns.append(given[2]) or given[0].sum())
    insdis.training_step(batch(0, [0, 1, 2, 3]), 0)
    insdis.training_step(batch(0, [3, 1]), 0)
    assert torch.equal(columns[0][[3, 1]], columns[1]) and not torch.equal(columns[0][0, 1:], columns[0][1, 1:])
    drawn = columns[0][:, 1:].flatten().bincount(minlength=7)
    assert drawn.sum() == 200 and drawn.min() > 10, "uniform over the bank"
    assert torch.equal(insdis.first_rows(IDS[[4, 2]]), insdis.first_rows(IDS)[[4, 2]])
    assert float(insdis.first_rows(torch.arange(4000)).square().sum(1).mean()) == pytest.approx(1, rel=0.02)


def test_an_image_without_a_row_is_named() -> None:
    with pytest.raises(UserError, match=r"id 4: expected one of the 7 that are covered, 3 to 90"):
        module().training_step(Images(torch.rand(1, 1, 1, 16, 16).double(), torch.zeros(1), torch.tensor([4])), 0)
    made = InsDis(width=8)
    made._trainer = SimpleNamespace(datamodule=None)
    with pytest.raises(UserError, match=r"InsDis keeps a state for each sample; train it on a benchmark"):
        made.setup("fit")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"negatives": 0}, "model.negatives is 0; it must be at least 1"), ({"bank_momentum": -1.0}, "bank_momentum -1")],
)
def test_what_is_out_of_range_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        InsDis(**arguments)
