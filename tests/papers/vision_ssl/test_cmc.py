"""CMC: the two banks against a loop, which view meets which, what is predicted, and what a probe reads."""

import math
from types import SimpleNamespace

import pytest
import torch

from common.batches import Images
from common.errors import UserError
from papers.vision_ssl.cmc import properties
from papers.vision_ssl.cmc.module import CMC, CMCInBatch
from papers.vision_ssl.cmc.prediction import CrossPrediction
from tests.oracles import info_nce as oracle

IDS = torch.tensor([3, 40, 8, 21, 5, 90, 17])


def batch(seed: int, which: list[int], views: int = 1) -> Images:
    pixels = torch.rand(views, len(which), 3, 16, 16, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
    return Images(pixels, torch.zeros(len(which)).long(), IDS[which])


def module(kind: type = CMC, **arguments):
    torch.manual_seed(0)
    made = kind(width=8, **arguments).double().train()
    made._trainer = SimpleNamespace(global_step=0, datamodule=SimpleNamespace(training_ids=lambda: IDS))
    made.setup("fit")
    made.log_loss = lambda loss: loss  # without a trainer there is no log
    return made


def score(row: list[float], other: list[float], temperature: float) -> float:
    return math.exp(sum(a * b for a, b in zip(row, other, strict=True)) / temperature)


def direction(rows: list, bank: list, columns: list, z: float, t: float, loss: str) -> float:
    """One view's codes against one bank, as written."""
    total, noise = 0.0, (len(columns[0]) - 1) / len(bank)
    for row, places in zip(rows, columns, strict=True):
        own, *others = [score(row, bank[k], t) for k in places]
        if loss == "softmax":
            total -= math.log(own / (own + sum(others)))
        else:
            total -= math.log(own / z / (own / z + noise)) + sum(math.log(noise / (x / z + noise)) for x in others)
    return total / len(rows)


@pytest.mark.parametrize("loss", ["nce", "softmax"])
@pytest.mark.parametrize(("contrast", "views"), [("cross", 1), ("cross", 2), ("within", 2)])
def test_loss_banks_and_constants_are_those_of_a_loop(loss: str, contrast: str, views: int, monkeypatch) -> None:
    shared = dict(projection_dim=6, negatives=4, temperature=0.2, bank_momentum=0.3)
    cmc, seen = module(loss=loss, contrast=contrast, **shared), []
    plain = cmc.discriminate
    monkeypatch.setattr(cmc, "discriminate", lambda *given: seen.append(given) or plain(*given))
    banks, z = [bank.rows.tolist() for bank in cmc.banks], [0.0, 0.0]
    assert banks[0] != banks[1]
    for step, which in enumerate(([0, 1, 2], [2, 4, 0], [5, 6, 2])):
        cmc._trainer.global_step = step
        found = float(cmc.training_step(batch(step, which, views), step).detach())
        codes, columns = [rows.tolist() for rows in seen[-1][0]], seen[-1][2].tolist()
        met = banks[::-1] if contrast == "cross" else banks
        if step == 0:
            for side in (0, 1):
                pairs = [(row, met[side][k]) for row, places in zip(codes[side], columns, strict=True) for k in places]
                z[side] = 7 * sum(score(*pair, 0.2) for pair in pairs) / len(pairs)
        expected = sum(direction(codes[side], met[side], columns, z[side], 0.2, loss) for side in (0, 1))
        assert found == pytest.approx(expected, rel=1e-5)  # ours adds 1e-7, as the released code
        for bank, rows in zip(banks, codes, strict=True):
            for i, place in enumerate(places[0] for places in columns[:3]):
                mean = [sum(rows[v * 3 + i][d] for v in range(views)) / views for d in range(6)]
                moved = [0.3 * old + 0.7 * new for old, new in zip(bank[place], mean, strict=True)]
                bank[place] = [x / math.sqrt(sum(y * y for y in moved)) for x in moved]
        for bank, rows in zip(cmc.banks, banks, strict=True):
            torch.testing.assert_close(bank.rows, torch.tensor(rows, dtype=torch.double))


def test_each_encoder_learns_from_the_other_views_bank_alone() -> None:
    """The gradient of the first encoder is that of its own direction, in which the second has no part."""
    cmc = module(projection_dim=6, negatives=4, loss="softmax")
    columns = cmc.banks[0].columns(IDS[:3], 4, 1)
    codes = cmc.codes(batch(0, [0, 1, 2]).views)
    rows = [bank.rows for bank in cmc.banks]
    weight = cmc.networks[0].head.weight
    alone = torch.autograd.grad(cmc.term(codes[0], rows[1], cmc.log_z[0], columns), weight, retain_graph=True)
    both = torch.autograd.grad(cmc.discriminate(codes, IDS[:3], columns), weight)
    torch.testing.assert_close(both, alone)


@pytest.mark.parametrize(
    ("contrast", "views"), [("cross", 1), ("cross", 2), ("cross", 3), ("within", 2), ("within", 3)]
)
def test_in_the_batch_codes_of_different_crops_meet(contrast: str, views: int) -> None:
    method = module(CMCInBatch, projection_dim=6, temperature=0.3, contrast=contrast)
    data = batch(1, [0, 1, 2, 3], views)
    lightness, colour = (rows.unflatten(0, (views, -1)).detach() for rows in method.codes(data.views))
    given = dict(temperature=torch.tensor(0.3, dtype=torch.double))
    terms = []
    for one, other in [(lightness, colour)] if contrast == "cross" else [(lightness, lightness), (colour, colour)]:
        for v in range(views):
            both = (one[v], other[v - 1]), (other[v - 1], one[v])
            terms.append(sum(float(oracle.info_nce(*pair, **given)) for pair in both))
    assert float(method.training_step(data, 0).detach()) == pytest.approx(sum(terms) / len(terms), rel=1e-9)


def test_one_crop_alone_has_nothing_to_be_contrasted_with_within_a_view() -> None:
    with pytest.raises(UserError, match=r"data\.views must be at least 2"):
        module(CMCInBatch, contrast="within").training_step(batch(1, [0, 1, 2, 3], 1), 0)


@pytest.mark.parametrize("distance", ["l1", "l2"])
def test_prediction_paints_the_other_view(distance: str) -> None:
    method, data = module(CrossPrediction, distance=distance, side=4), batch(2, [0, 1, 2], 2)
    lightness, colour = method.parted(data.views.flatten(0, 1))
    total = 0.0
    for network, one, other in zip(method.networks, (lightness, colour), (colour, lightness), strict=True):
        painted = network.head(network.encoder(one)).view(6, -1, 4, 4)
        gap = painted - other.unflatten(2, (4, 4)).unflatten(4, (4, 4)).mean(dim=(3, 5))
        total += float((gap.abs() if distance == "l1" else gap**2).mean().detach())
    assert float(method.training_step(data, 0).detach()) == pytest.approx(total, rel=1e-9)


def test_the_views_share_no_channel_and_the_probe_reads_both() -> None:
    method = module().float().eval()
    grey = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0)).expand(2, 3, 16, 16)
    lightness, colour = method.parted(grey)
    assert lightness.shape == (2, 1, 16, 16) and lightness.std() > 0.1
    assert colour.shape == (2, 2, 16, 16) and float(colour.std(dim=(2, 3)).max()) < 1e-4, "grey has no colour"
    pixels = torch.randint(256, (2, 3, 16, 16), dtype=torch.uint8)
    rows = method.embed_image(pixels)
    parts = method.parted(pixels.float() / 255)
    expected = [n.encoder(p) for n, p in zip(method.networks, parts, strict=True)]
    torch.testing.assert_close(rows, torch.cat(expected, dim=1))


@pytest.mark.parametrize("colours", ["lab", "ycbcr"])
def test_both_colour_spaces_fill_the_range_of_encoders(colours: str) -> None:
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)[:, :, None, None]
    parts = torch.cat(module(colours=colours).parted(corners.double()), dim=1)
    if colours == "lab":
        low, high = parts.amin(dim=(0, 2, 3)), parts.amax(dim=(0, 2, 3))
        torch.testing.assert_close(low, torch.zeros(3).double(), atol=1e-3, rtol=0)
        torch.testing.assert_close(high, torch.ones(3).double(), atol=1e-3, rtol=0)
    else:
        expected = (torch.tensor([16.0, 128, 128]) - torch.tensor([116.151, 121.080, 132.342])).double()
        spread = torch.tensor([109.500, 111.855, 111.964]).double()
        torch.testing.assert_close(2 * parts[0, :, 0, 0] - 1, expected / spread)


def test_a_loss_without_its_positive_below_the_line_breaks_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(properties.bound(0).values()) == {0.0}

    def term(_, rows, bank, log_z, columns):
        scores = (rows @ bank.T)[:, columns[0]]
        return (scores[:, 1:].logsumexp(dim=1) - scores[:, 0]).mean()

    monkeypatch.setattr(CMC, "term", term)
    assert min(excess for name, excess in properties.bound(0).items() if name.startswith("best")) > 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"negatives": 0}, "model.negatives is 0; it must be at least 1"), ({"bank_momentum": 2.0}, "bank_momentum 2")],
)
def test_what_is_out_of_range_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        CMC(**arguments)


def test_bands_add_up_to_the_picture_and_one_has_no_edges() -> None:
    module = CMCInBatch(width=8, colours="bands").double()
    edge = torch.zeros(1, 1, 28, 28, dtype=torch.double)
    edge[..., 14:] = 1
    low, high = module.parted(edge)
    torch.testing.assert_close(low + high, edge + 0.5)
    steps = lambda rows: float(rows.diff(dim=-1).abs().max())  # noqa: E731
    assert steps(low) < 0.3 and steps(high) > 0.7
    flat = torch.full((2, 1, 28, 28), 0.3, dtype=torch.double)
    torch.testing.assert_close(module.parted(flat)[1], torch.full_like(flat, 0.5))
    assert module.float().embed_image(flat.float()).shape == (2, 2 * module.networks[0].encoder.output_dim)
