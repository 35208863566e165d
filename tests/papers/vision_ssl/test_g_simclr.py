"""G-SimCLR: who shares a batch, the released order, the autoencoder, and the published sizes."""

from collections import Counter
from itertools import chain
from types import SimpleNamespace

import pytest
import torch

from common.batches import Images
from common.encoders.bottleneck import CifarBottleneck
from common.errors import UserError
from common.losses import nt_xent
from common.sampling.company import RankedLabelSampler
from data.benchmarks.bases.images import AugmentedImages, Pictures
from papers.vision_ssl.g_simclr import properties
from papers.vision_ssl.g_simclr.autoencoder import DenoisingAutoencoder, learnt_codes, trained
from papers.vision_ssl.g_simclr.module import GSimCLR
from papers.vision_ssl.simclr.module import SimCLR

# The released notebook's lines with pandas 2, on labels drawn at random: the ranks of the images of each chunk of five.
LABELS = [1, 2, 1, 1, 1, 1, 1, 3, 4, 0, 2, 1, 1, 4, 0, 0, 0, 3, 2, 3, 4, 2, 1, 2, 0, 1, 0, 4, 1, 1, 0, 2, 1, 1, 0]
LABELS += [1, 1, 1, 4, 2, 0]
RANKS = [[1, 1, 1, 1, 1], [2, 2, 2, 2, 2], [3, 3, 3, 3, 3], [4, 4, 4, 4, 5], [5, 5, 5, 6, 6], [6, 7, 7, 7, 8]]
RANKS += [[8, 9, 9, 10, 11], [12, 13, 14, 15, 16]]


class Patches(AugmentedImages):
    """Pictures of three greys, whose class is another matter."""

    name = "patches"

    def load(self) -> dict[str, Pictures]:
        grey = torch.arange(48) % 3
        noise = torch.randint(20, (48, 1, 16, 16), generator=torch.Generator().manual_seed(0))
        pixels = (grey[:, None, None, None] * 100 + noise).to(torch.uint8)
        return {"train": Pictures(pixels, torch.arange(48) // 3 % 4, torch.arange(48))}


def started(company: str, **arguments) -> tuple[GSimCLR, Patches]:
    torch.manual_seed(0)
    method = GSimCLR(width=8, clusters=3, company=company, autoencoder_width=4, autoencoder_steps=20, **arguments)
    benchmark = Patches(batch_size=3, seed=1)
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    method._trainer = SimpleNamespace(datamodule=benchmark, strategy=strategy, global_step=0)
    method.setup("fit")
    return method, benchmark


def test_guided_batches_are_of_different_clusters_and_the_others_of_the_same_images() -> None:
    orders = {}
    for company in ("guided", "random", "oracle", "together"):
        _, benchmark = started(company)
        loader = benchmark.train_dataloader()
        loader.order.set_epoch(2)
        orders[company] = [batch.ids for batch in loader]
    drawn = {company: Counter(torch.cat(order).tolist()) for company, order in orders.items()}
    assert len(set(map(str, map(sorted, (c.items() for c in drawn.values()))))) == 1
    grey, classes = torch.arange(48) % 3, torch.arange(48) // 3 % 4
    assert all(len(set(grey[ids].tolist())) == 3 for ids in orders["guided"]), "the three greys are the clusters"
    mixed = [ids for ids in orders["together"] if len(set(grey[ids].tolist())) > 1]
    assert len(mixed) == 2, "sixteen of each grey: five batches of it, and one left over"
    assert all(len(set(classes[ids].tolist())) == 3 for ids in orders["oracle"])
    repeats = [3 - len(set(grey[ids].tolist())) for ids in orders["random"]]
    assert 0 < sum(repeats) < 2 * len(repeats)


def test_the_order_by_rank_is_the_released_one() -> None:
    labels = torch.tensor(LABELS)
    batches = list(RankedLabelSampler(labels, 5, seed=7))
    ranks = torch.empty(41, dtype=torch.long)
    for label, count in Counter(LABELS).items():
        own = [i for i in chain(*batches) if labels[i] == label]
        ranks[own] = torch.arange(1, len(own) + 1)
        assert len(own) >= count - 1, "one image does not fill a batch"
    assert [sorted(ranks[batch].tolist()) for batch in batches] == RANKS


def test_setup_leaves_the_random_state_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    pixels = torch.randint(256, (30, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    codes = learnt_codes(pixels, width=4, steps=3, seed=5)
    assert codes.shape == (30, 16) and torch.equal(before, torch.get_rng_state())
    assert torch.equal(codes, learnt_codes(pixels, width=4, steps=3, seed=5))
    assert not torch.equal(codes, learnt_codes(pixels, width=4, steps=3, seed=6))


@pytest.mark.parametrize("side", [28, 32])
def test_the_autoencoder_learns_to_paint_what_it_sees(side: int) -> None:
    pixels = torch.zeros(64, 1, side, side, dtype=torch.uint8)
    pixels[32:, :, : side // 2] = 255
    clean = pixels.float() / 255
    painted = [trained(pixels, width=4, steps=k, seed=0)(clean).detach() for k in (0, 100)]
    errors = [float((one - clean).square().mean()) for one in painted]
    assert errors[1] < 0.75 * errors[0]
    autoencoder = DenoisingAutoencoder(1, 4).eval()
    assert autoencoder(clean).shape == clean.shape
    assert torch.equal(autoencoder(clean), autoencoder(clean)), "noise belongs to training"
    assert not torch.equal(autoencoder.train()(clean), autoencoder(clean))


def test_the_published_sizes() -> None:
    """As the released notebooks print them: trainable parameters."""
    counts = [sum(p.numel() for p in m.parameters()) for m in (CifarBottleneck(), DenoisingAutoencoder(3, 32))]
    assert counts == [1_114_400, 334_851]
    assert CifarBottleneck()(torch.rand(2, 3, 32, 32)).shape == (2, 256)


def test_the_loss_is_simclrs() -> None:
    torch.manual_seed(0)
    method = GSimCLR(width=8, temperature=0.3, projection_dim=6, hidden=(7, 5)).double().train()
    logged = {}
    method.log_loss = lambda loss, **terms: logged.update(terms) or loss
    views = torch.rand(2, 5, 1, 16, 16, dtype=torch.double)
    batch = Images(views, torch.tensor([0, 1, 0, 2, 0]), torch.arange(5))
    loss = method.training_step(batch, 0)
    expected = nt_xent(*method.network(views.flatten(0, 1)).chunk(2), temperature=0.3)
    torch.testing.assert_close(loss, expected)
    assert float(logged["false_negatives"]) == pytest.approx(3 / 10)
    assert [m.out_features for m in method.network.head if hasattr(m, "out_features")] == [7, 5, 6]
    assert isinstance(method, SimCLR)


def test_counts_know_clusters_that_know_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = Patches(batch_size=10)
    monkeypatch.setattr(
        Patches,
        "load",
        lambda self: {
            "train": Pictures(torch.zeros(400, 1, 8, 8, dtype=torch.uint8), torch.arange(400) % 10, torch.arange(400))
        },
    )
    known, unknown = torch.arange(400) % 10, torch.arange(400) // 40
    found = {}
    for name, labels in {"known": known, "unknown": unknown}.items():
        monkeypatch.setattr(GSimCLR, "pseudo_labels", lambda self, pixels, labels=labels: labels)
        found[name] = properties.ratio(benchmark, 0)
    assert found["known"] == 0 and found["unknown"] == pytest.approx(1, abs=0.15)


def test_the_released_order_is_counted_with_what_the_largest_cluster_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = torch.arange(400) // 300
    pictures = Pictures(torch.zeros(400, 1, 8, 8, dtype=torch.uint8), labels, torch.arange(400))
    monkeypatch.setattr(Patches, "load", lambda self: {"train": pictures})
    monkeypatch.setattr(GSimCLR, "pseudo_labels", lambda self, pixels: labels)
    assert properties.ratio(Patches(batch_size=2), 0) == 0
    # A hundred batches of both, and a hundred of the larger alone.
    expected = 0.5 / ((300 * 299 + 100 * 99) / (400 * 399))
    assert properties.ratio(Patches(batch_size=2), 0, company="ranked") == pytest.approx(expected)


def test_clusters_of_pixels_are_counted_without_an_autoencoder(monkeypatch: pytest.MonkeyPatch) -> None:
    grey = Patches(batch_size=3).load()["train"]
    monkeypatch.setattr(Patches, "load", lambda self: {"train": grey._replace(labels=torch.arange(48) % 3)})
    monkeypatch.setattr(GSimCLR, "pseudo_labels", lambda self, pixels: torch.arange(48) // 3 % 3)
    assert properties.ratio(Patches(batch_size=3), 0, pixels=True) == 0
    assert properties.ratio(Patches(batch_size=3), 0) > 0.5


def test_what_is_out_of_range_is_refused() -> None:
    with pytest.raises(UserError, match=r"model\.clusters is 0; it must be at least 1"):
        GSimCLR(clusters=0)
    with pytest.raises(UserError, match=r"model\.clusters is 9; there are 8 pictures"):
        GSimCLR(width=8, clusters=9).pseudo_labels(torch.zeros(8, 1, 16, 16, dtype=torch.uint8))
    method = GSimCLR(width=8)
    method._trainer = SimpleNamespace(datamodule=None)
    with pytest.raises(UserError, match="benchmark of pictures in memory"):
        method.setup("fit")
