"""iSogCLR: states and loss against a loop, on several processes, with lent temperatures, and what is refused."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from common.batches import Images
from common.distributed import rank, world_size
from common.errors import UserError
from papers.vision_ssl.isogclr.module import ISogCLR
from tests.processes import on_processes

IDS = torch.tensor([3, 40, 8, 21, 5, 90, 17, 11])


def module(**arguments) -> ISogCLR:
    torch.manual_seed(0)
    made = ISogCLR(width=8, projection_dim=6, **arguments).double().train()
    made._trainer = SimpleNamespace(global_step=0, datamodule=SimpleNamespace(training_ids=lambda: IDS))
    made.setup("fit")
    made.log_loss = lambda loss: loss  # without a trainer there is no log
    return made


def views(seed: int, n: int = 4) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    centre, *noise = torch.randn(3, n, 6, generator=draw, dtype=torch.double)
    one, other = (F.normalize(centre + 0.7 * x, dim=1).requires_grad_() for x in noise)
    return one, other


def loop(rows: list[Tensor], states: list[dict[str, float]], a: dict[str, float]) -> Tensor:
    """Algorithm 1 image by image; moves the states. The weights of the negatives are constants."""
    n, total = len(rows) // 2, torch.zeros((), dtype=torch.double)
    found = []
    for i, row in enumerate(rows):
        state = states[i % n]
        negatives = [row @ other for j, other in enumerate(rows) if j % n != i % n]
        g = sum(math.exp(s.item() / state["tau"]) for s in negatives) / len(negatives)
        u = g if state["u"] is None else (1 - a["gamma"]) * state["u"] + a["gamma"] * g
        weights = [math.exp(s.item() / state["tau"]) / u for s in negatives]
        mean = sum(w * s for w, s in zip(weights, negatives, strict=True)) / len(negatives)
        total = total + (mean - row @ rows[(i + n) % len(rows)]) / n
        found.append((u, math.log(u) + a["rho"] - mean.item() / state["tau"]))
    for i, state in enumerate(states):
        (u, slope), (other_u, other_slope) = found[i], found[i + n]
        state["u"] = (u + other_u) / 2
        cut = max(-3.0, min(3.0, (slope + other_slope) / 2))
        state["slope"] = (1 - a["beta"]) * state["slope"] + a["beta"] * cut
        state["tau"] = max(0.05, min(1.0, state["tau"] - a["temperature_lr"] * state["slope"]))
    return total


@pytest.mark.parametrize("rho", [0.4, 4.0])
def test_loss_and_states_are_those_of_a_loop(rho: float) -> None:
    a = {"rho": rho, "gamma": 0.7, "beta": 0.6, "temperature_lr": 0.04}
    isogclr = module(temperature=0.2, **a)
    states = {i: {"u": None, "slope": 0.0, "tau": 0.2} for i in IDS.tolist()}
    for step, which in enumerate(([0, 1, 2, 3], [3, 5, 0, 6], [0, 3, 2, 7], [3, 0, 1, 5])):
        ids, (one, other) = IDS[which], views(step)
        expected = loop([*one, *other], [states[i] for i in ids.tolist()], a)
        found = isogclr.contrast(one, other, ids)
        assert found.item() == pytest.approx(expected.item(), rel=1e-10)
        for ours, plain in zip(*(torch.autograd.grad(x, [one, other]) for x in (found, expected)), strict=True):
            torch.testing.assert_close(ours, plain, rtol=1e-10, atol=1e-12)
        taus = [states[i]["tau"] for i in IDS.tolist()]
        torch.testing.assert_close(isogclr.sample_temperature(IDS), torch.tensor(taus, dtype=torch.double))
    met = [i for i in IDS.tolist() if states[i]["u"] is not None]
    log_u = isogclr.state.read(torch.tensor(met))[:, 0]
    torch.testing.assert_close(log_u.exp(), torch.tensor([states[i]["u"] for i in met], dtype=torch.double))
    assert len(met) == 7 and isogclr.state.read(IDS[[4]])[0, 0] == -math.inf
    assert len({round(tau, 6) for tau in taus}) > 3, "images differ in their temperatures"


def followed(own: bool, **arguments) -> list[Tensor]:
    """Losses, gradients and states of three steps, with a share of each batch or all of it."""
    isogclr, found = module(temperature=0.2, **arguments), []
    for step in range(3):
        share = slice(4 * rank() // world_size(), 4 * (rank() + 1) // world_size()) if own else slice(None)
        one, other = (x.detach()[share].requires_grad_() for x in views(step))
        loss = isogclr.contrast(one, other, IDS[[0, 1, 3, 4 + step]][share])
        found += [loss.detach(), *torch.autograd.grad(loss / world_size(), [one, other])]
    return [*found, isogclr.state.rows]


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("shuffled", [False, True])
def test_processes_share_states_and_negatives(world: int, shuffled: bool) -> None:
    alone = followed(own=False, shuffled=shuffled)
    shares = on_processes(world, lambda: followed(own=True, shuffled=shuffled))
    for place, whole in enumerate(alone):
        parts = [share[place] for share in shares]
        cut = whole.ndim == 2 and place < len(alone) - 1
        for part in [torch.cat(parts)] if cut else parts:
            torch.testing.assert_close(part, whole, rtol=1e-12, atol=1e-12)


def test_a_lent_temperature_is_another_images_and_changes_no_state() -> None:
    isogclr, plain = module(temperature=0.2, shuffled=True), module(temperature=0.2)
    assert isogclr.others.sort().values.tolist() == list(range(8))
    assert not (isogclr.others == torch.arange(8)).any()
    for step in range(4):
        one, other = views(step)
        before = plain.state.rows[:, 2]
        lent = before[isogclr.others[isogclr.state.places(IDS[:4])]]
        log_u = isogclr.state.read(IDS[:4])[:, 3]
        expected, *_ = plain.compare(one, other, IDS[:4], lent, log_u)
        assert isogclr.contrast(one, other, IDS[:4]).item() == pytest.approx(expected.item(), rel=1e-12)
        learnt = plain.contrast(one, other, IDS[:4]).item()
        torch.testing.assert_close(isogclr.state.rows[:, :3], plain.state.rows[:, :3])
    assert learnt != pytest.approx(expected.item(), rel=1e-3)


def test_temperatures_before_and_without_learning() -> None:
    assert ISogCLR(width=8, temperature=0.3).sample_temperature(IDS).tolist() == pytest.approx([0.3] * 8)
    fixed = module(temperature=0.3, temperature_lr=0.0)
    fixed.contrast(*views(0), IDS[:4])
    assert (fixed.sample_temperature(IDS) == 0.3).all()


def test_cold_scores_do_not_overflow() -> None:
    """exp(1 / 0.001) is beyond any float; what is kept is its logarithm."""
    cold = module(temperature=0.001, least=0.001, temperature_lr=0.0).float()
    for _ in range(2):
        one, other = (x.detach().float().requires_grad_() for x in views(0))
        cold.contrast(one, other, IDS[:4]).backward()
    assert one.grad.isfinite().all() and one.grad.any() and cold.state.read(IDS[:4])[:, :3].isfinite().all()


def test_one_image_is_refused() -> None:
    data = Images(torch.rand(2, 1, 1, 16, 16).double(), torch.zeros(1), IDS[:1])
    with pytest.raises(UserError, match=r"data.batch_size is 1; it must be at least 2"):
        module(encoder="small_convnet").eval().training_step(data, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gamma": 0.0}, "model.gamma 0.0: expected a finite number above 0"),
        ({"beta": 1.5}, "model.beta 1.5: expected"),
        ({"rho": -0.1}, "model.rho -0.1: expected"),
        ({"temperature_lr": -0.1}, "model.temperature_lr -0.1: expected"),
        ({"least": 0.2}, "model.least 0.2: expected"),
        ({"most": 0.01}, "model.most 0.01: expected"),
    ],
)
def test_what_is_out_of_range_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ISogCLR(**arguments)
