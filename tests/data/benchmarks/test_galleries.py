"""Placed garments and stamps: what is drawn and by which seed, switches that do what they say, known scores."""

import hashlib
import math
from collections.abc import Callable

import lightning as L
import pytest
import torch
from torch import Tensor, nn

from common.errors import UserError
from common.evaluation.classes import class_metrics
from common.evaluation.geometry import tolerance, uniformity_metric
from common.evaluation.similarity import spearman
from common.table import take
from data.benchmarks.bases.galleries import GalleryImages
from data.benchmarks.bases.rendering import bumps, luma, posed, to_bytes
from data.benchmarks.mini import placed_fashion
from data.benchmarks.mini.placed_fashion import PlacedFashion
from data.benchmarks.mini.stamps import ALIKE, Stamps, read_classes
from data.sources.fashion_mnist import read_fashion_mnist

SIZES = {"train": 20_000, "val": 5000, "gallery": 5000, "test": 10_000}


@pytest.fixture(scope="module", params=[PlacedFashion, Stamps])
def ground(request: pytest.FixtureRequest, fetched) -> GalleryImages:
    return ready(fetched, request.param)


@pytest.fixture(scope="module")
def placed(fetched) -> PlacedFashion:
    return ready(fetched, PlacedFashion)


def ready(fetched, kind: type, **switches) -> GalleryImages:
    fetched(*kind.sources)
    benchmark = kind(**switches)
    benchmark.prepare_data()
    benchmark.setup()
    return benchmark


class Cheat(nn.Module):
    """Knows the class of every scored picture, as far as it is not among the `unknown` first ones of the test."""

    def __init__(self, benchmark: GalleryImages, unknown: int = 0) -> None:
        super().__init__()
        self.known, self.classes = {}, benchmark.class_count
        for name, part in benchmark.splits.items():
            if name != "train":
                first = unknown if name == "test" else 0
                rows = zip(part.pixels[first:], part.labels[first:].tolist(), strict=True)
                self.known |= {picture.numpy().tobytes(): label for picture, label in rows}

    def embed_image(self, pixels: Tensor) -> Tensor:
        labels = torch.tensor([self.known.get(picture.numpy().tobytes(), 0) for picture in pixels])
        return nn.functional.one_hot(labels, self.classes).float()


def test_counts(ground: GalleryImages) -> None:
    assert ground.sizes() == SIZES
    for part in (ground.train, *(ground.splits[name] for name in ("val", "gallery", "test"))):
        assert part.labels.bincount().unique().numel() == 1
        assert part.pixels.dtype == torch.uint8
        assert part.pixels.shape[1:] == {"placed_fashion": (1, 28, 28), "stamps": (3, 32, 32)}[ground.name]


def test_known_samples(ground: GalleryImages) -> None:
    """A rendering is a function of its sample, but for the rounding of a pixel on another processor."""
    hashes = {"placed_fashion": "55e11811", "stamps": "009f6162"}
    known = {
        "placed_fashion": [25, 27, 25, 21, 27, 30, 8, 18, 29, 25, 15, 18, 9, 14, 17, 8],
        "stamps": [22, 19, 23, 23, 19, 17, 20, 25, 24, 7, 6, 26, 27, 6, 6, 26],
    }
    assert ground.fingerprint()[:8] == hashes[ground.name]
    some = ground.splits["test"].pixels[0].double().mean(0)[8:24:4, 8:24:4].flatten()
    torch.testing.assert_close(some / 8, torch.tensor(known[ground.name]).double(), atol=0.7, rtol=0)


def test_no_picture_stands_in_two_splits(ground: GalleryImages) -> None:
    parts = [ground.train, *(ground.splits[name] for name in ("val", "gallery", "test"))]
    ids = torch.cat([part.ids for part in parts])
    assert ids.unique().numel() == len(ids) == 40_000
    seen = {hashlib.sha256(picture.numpy().tobytes()).digest() for part in parts for picture in part.pixels}
    assert len(seen) == len(ids)


def test_the_seed_draws_what_is_trained_on(ground: GalleryImages, fetched) -> None:
    other = ready(fetched, type(ground), seed=1)
    assert other.fingerprint() == ground.fingerprint()
    assert all(other.splits[name].pixels.equal(ground.splits[name].pixels) for name in ("val", "gallery", "test"))
    first, second = ({picture.numpy().tobytes() for picture in b.train.pixels} for b in (ground, other))
    # 20,000 of 50,000 garments, or all of them rendered anew.
    assert len(first & second) / 20_000 == pytest.approx(0.4 if ground.name == "placed_fashion" else 0, abs=0.02)


def test_garments_are_rendered_each_by_its_id(placed: PlacedFashion) -> None:
    pixels, labels = (torch.from_numpy(x) for x in read_fashion_mnist()["train"])
    val = placed.splits["val"]
    rows = torch.tensor([4, 7, 1])
    again = placed_fashion.rendered(pixels[val.ids[rows], None], val.ids[rows])
    assert (again.int() - val.pixels[rows].int()).abs().max() <= 1
    assert labels[val.ids].equal(val.labels)
    assert placed.splits["test"].ids.tolist() == list(range(60_000, 70_000))


def test_nuisance_grows_from_the_garment_as_it_is(placed: PlacedFashion) -> None:
    """It moves the picture away from the garment, little by little, and at 1 it is the default."""
    ids = placed.splits["val"].ids[:200]
    garments = torch.from_numpy(read_fashion_mnist()["train"][0])[ids, None]
    drawn = {share: placed_fashion.rendered(garments, ids, nuisance=share).float() for share in (0, 0.25, 0.5, 1)}
    assert drawn[1].equal(placed_fashion.rendered(garments, ids).float())
    apart = [float((pixels - garments).square().mean().sqrt()) for pixels in drawn.values()]
    assert apart[0] < 3 and all(apart[i + 1] > apart[i] + 15 for i in range(3)), apart
    with pytest.raises(UserError, match=r"data\.nuisance is 1\.5; it must be from 0 to 1"):
        PlacedFashion(nuisance=1.5)


def test_less_nuisance_is_other_data(placed: PlacedFashion, fetched) -> None:
    less = ready(fetched, PlacedFashion, nuisance=0.25)
    assert less.fingerprint() != placed.fingerprint()
    assert less.sizes() == placed.sizes() and less.train.ids.equal(placed.train.ids)
    rows = torch.tensor([4, 7, 1])
    val, known = less.splits["val"], placed.splits["val"]
    again = placed_fashion.rendered(
        torch.from_numpy(read_fashion_mnist()["train"][0])[val.ids[rows], None], val.ids[rows], nuisance=0.25
    )
    assert (again.int() - val.pixels[rows].int()).abs().max() <= 1 and val.ids.equal(known.ids)


def test_coarse_labels_are_for_methods_alone(placed: PlacedFashion, fetched) -> None:
    coarse = ready(fetched, PlacedFashion, coarse=True)
    rows = torch.arange(0, 20_000, 97)
    fine, kinds = (b.augmented(take(b.train, rows), 3) for b in (placed, coarse))
    assert torch.equal(fine.views, kinds.views) and torch.equal(fine.ids, kinds.ids)
    pairs = set(zip(fine.labels.tolist(), kinds.labels.tolist(), strict=True))
    shown = {kind: [placed.classes[c] for c, k in sorted(pairs) if k == kind] for kind in range(4)}
    assert shown[1] == ["trouser"] and shown[2] == ["sandal", "sneaker", "ankle boot"] and shown[3] == ["bag"]
    assert len(pairs) == 10 and coarse.splits["test"].labels.equal(placed.splits["test"].labels)


def test_stamps_are_unlike_each_other() -> None:
    pixels, numbers, names = read_classes(None)
    assert pixels.shape == (200, 4, 32, 32)
    assert len(set(names)) == len(numbers.unique()) == 200
    assert not [name for name in names if name.startswith("symbols/")]
    assert names[:3] == ["animals/birds/tucan", "town/houses/cartoon/medieval_tent", "town/monuments/cartoon/graveyard"]
    x = pixels.double() / 255
    for i in range(0, 200, 20):
        for mirrored in (x, x.flip(3)):
            apart = (mirrored - x[i]).square().mean(dim=(1, 2, 3)).sqrt()
            assert torch.cat([apart[:i], apart[i + 1 :]]).min() >= ALIKE


def test_long_tails(fetched) -> None:
    tailed = ready(fetched, PlacedFashion, train_size=13_000, long_tail=50)
    sizes = tailed.train.labels.bincount().sort(descending=True).values
    assert sizes.sum() == 13_000
    assert sizes[0] / sizes[9] == pytest.approx(50, rel=0.01)
    assert (sizes[:-1] / sizes[1:] - 50 ** (1 / 9)).abs().max() < 0.02
    assert tailed.splits["gallery"].labels.bincount().tolist() == [500] * 10
    assert tailed.train.labels.bincount().tolist() == tailed.class_sizes
    heads = {
        PlacedFashion(train_size=13_000, long_tail=50, seed=seed).class_sizes.index(int(sizes[0])) for seed in range(8)
    }
    assert len(heads) > 3, "the seed draws which class is common"
    assert sum(Stamps(long_tail=50).class_sizes) == 20_000


def test_few_classes(fetched) -> None:
    few = ready(fetched, PlacedFashion, class_count=4, train_size=1000)
    assert few.sizes() == {"train": 1000, "val": 2000, "gallery": 2000, "test": 4000}
    assert few.train.labels.bincount().tolist() == [250] * 4
    assert few.fingerprint() != PlacedFashion().fingerprint()
    hundred = ready(fetched, Stamps, class_count=100, train_size=200)
    assert hundred.sizes() == SIZES | {"train": 200}
    assert hundred.splits["test"].labels.bincount().tolist() == [100] * 100


def test_without_colour_and_with_it(fetched, placed: PlacedFashion) -> None:
    grey, coloured = (ready(fetched, Stamps, class_count=20, train_size=20, colour=c) for c in (False, True))
    assert grey.splits["val"].pixels.shape == (5000, 1, 32, 32)
    assert grey.splits["val"].pixels.equal(luma(coloured.splits["val"].pixels))
    assert grey.fingerprint() != coloured.fingerprint()
    pixels = torch.from_numpy(read_fashion_mnist()["train"][0][:50, None])
    tinted = placed_fashion.rendered(pixels, torch.arange(50), colour=True)
    assert tinted.shape == (50, 3, 28, 28)
    plain = placed_fashion.rendered(pixels, torch.arange(50)).int()
    assert (tinted.int() <= plain + 1).all() and (tinted.float().std(1).mean(dim=(1, 2)) > 1).float().mean() > 0.9


def test_views(ground: GalleryImages) -> None:
    batch = take(ground.train, torch.arange(8))
    whole, half = ground.augmented(batch, 1), ground.augmented(take(batch, torch.arange(4, 8)), 1)
    assert whole.views.shape == (2, *batch.pixels.shape)
    torch.testing.assert_close(half.views, whole.views[:, 4:])
    used = ground.augmentation
    assert (used.flip, used.rotation, used.brightness, used.contrast, used.blur) == (0.5, 15, 0.4, 0.4, 0)
    colours = (used.crop, used.saturation, used.hue, used.jitter, used.grayscale)
    assert colours == ((0.3, 0, 0, 1, 0) if ground.name == "placed_fashion" else (0.25, 0.4, 0.1, 0.8, 0.2))


def test_perfect_scores_and_the_items_of_what_is_wrong(ground: GalleryImages) -> None:
    found = ground.evaluate(Cheat(ground, unknown=100))
    assert found.keys() == {
        *("knn20_centred/top1", "map_centred/gallery5000", "mrr_centred/gallery5000", "probe_ridge/top1"),
        "probe_discriminant/log_likelihood",
    }
    labels = ground.splits["test"].labels
    wrong = (torch.arange(10_000) < 100) & (labels != 0)
    if ground.by_class:
        assert wrong.nonzero().flatten().tolist() == [*range(50, 100)], "all pictures of the second class"
        wrong = torch.arange(200) == 1
    for name, mean in found.items():
        assert mean.items.shape == wrong.shape
        others = mean.items[~wrong]
        assert others.min() > -0.01 if "log" in name else (others - 1).abs().max() < 1e-9
        assert mean.items[wrong].max() < (-1 if "log" in name else 0.5)


def test_the_items_of_stamps_are_classes_and_the_values_those_over_pictures(fetched) -> None:
    ground = ready(fetched, Stamps, class_count=20, train_size=40)
    module = Brightness()
    gallery, val = (ground.splits[name] for name in ("gallery", "val"))
    rows = (module.embed_image(part.pixels) for part in (gallery, val))
    over_pictures = class_metrics(next(rows), gallery.labels, next(rows), val.labels)
    found = ground.evaluate(module, "val")
    assert found == over_pictures
    for name, mean in found.items():
        items = torch.stack([over_pictures[name].items[val.labels == label].mean() for label in range(20)])
        torch.testing.assert_close(mean.items, items, rtol=0, atol=1e-9)
    top1 = found["probe_ridge/top1"]
    assert top1.items.std() / 20**0.5 > 2 * over_pictures["probe_ridge/top1"].items.std() / 5000**0.5


class Brightness(nn.Module):
    """A picture is known by the means of its quarters and colours alone, and some classes by far better than others."""

    def embed_image(self, pixels: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(pixels.float(), 16).flatten(1)


class Projecting(Brightness):
    def project_image(self, pixels: Tensor) -> Tensor:
        return self.embed_image(pixels) - 100


def test_uniformity_and_tolerance_are_of_the_projections(placed: PlacedFashion) -> None:
    module, val = Projecting(), placed.splits["val"]
    plain, found = placed.evaluate(Brightness(), "val"), placed.evaluate(module, "val")
    rows = module.project_image(val.pixels)
    own = {
        "uniformity/projections": uniformity_metric(rows),
        "tolerance/projections": tolerance(rows, val.labels),
    }
    assert found == plain | own and all(found[name].items.shape == (5000,) for name in own)
    assert found["tolerance/projections"] > -1 / 499 and found["uniformity/projections"] < 0


class Tempered(Cheat):
    """With temperatures of its own, by the id of a sample."""

    def __init__(self, benchmark: GalleryImages, temperature: Callable[[Tensor], Tensor]) -> None:
        super().__init__(benchmark)
        self.sample_temperature = temperature


@pytest.mark.parametrize("long_tail", [1, 50])
def test_temperatures_are_compared_with_the_place_of_the_class(fetched, long_tail: int) -> None:
    ground = ready(fetched, PlacedFashion, train_size=2800, long_tail=long_tail, seed=3)
    common = dict(zip(ground.train.ids.tolist(), (9 - ground.rarity[ground.train.labels]).tolist(), strict=True))
    ordered = [size for _, size in sorted(zip(ground.rarity.tolist(), ground.class_sizes, strict=True))]
    assert ordered == sorted(ordered, reverse=True) and sorted(ground.rarity.tolist()) == list(range(10))

    def follows(sign: int) -> Callable[[Tensor], Tensor]:
        return lambda ids: 0.1 * sign * torch.tensor([float(common[i]) for i in ids.tolist()])

    for temperature, expected in ((follows(1), 1.0), (follows(-1), -1.0), (torch.ones_like, 0.0)):
        found = ground.evaluate(Tempered(ground, temperature), "val")["temperature/spearman"]
        assert float(found) == pytest.approx(expected, abs=1e-9) and found.items.shape == (2800,)
    # A picture's place among the items goes by the tail: the first are of the commonest class.
    only = Tempered(ground, lambda ids: torch.tensor([float(common[i] == 9) for i in ids.tolist()]))
    items = ground.evaluate(only, "val")["temperature/spearman"].items
    assert items[: max(ground.class_sizes)].unique().numel() == 1
    assert items[max(ground.class_sizes) - 1] != items[max(ground.class_sizes)]


@pytest.mark.parametrize("long_tail", [1, 10])
def test_temperatures_of_stamps_have_an_item_for_each_place_in_the_tail(fetched, long_tail: int) -> None:
    ground = ready(fetched, Stamps, class_count=20, train_size=400, long_tail=long_tail, seed=3)
    classes = dict(zip(ground.train.ids.tolist(), ground.train.labels.tolist(), strict=True))
    third = ground.rarity.tolist().index(2)
    only = Tempered(ground, lambda ids: torch.tensor([float(classes[i] == third) for i in ids.tolist()]))
    found = ground.evaluate(only, "val")["temperature/spearman"]
    rarity = ground.rarity[ground.train.labels]
    assert float(found) == pytest.approx(float(spearman((rarity == 2).double(), -rarity)), abs=1e-12)
    assert found.items.shape == (20,) and found.items.argmax() == 2
    assert found.items.mean().item() == pytest.approx(float(found), abs=1e-9)


def test_floor(placed: PlacedFashion) -> None:
    floor = placed.floor()
    chance, pixels = floor["chance"], floor["raw pixels"]
    assert chance.keys() == pixels.keys()
    assert chance[placed.primary] == 0.1 and chance["probe_discriminant/log_likelihood"] == -math.log(10)
    assert 0.1 < chance["map_centred/gallery5000"] < 0.102
    assert 0.29 < pixels["knn20_centred/top1"] < 0.36
    assert 0.12 < pixels[placed.primary] < 0.16


class Counter(L.LightningModule):
    """Knows the classes that it has met; the last task makes it forget the first ones, which look alike then."""

    def __init__(self, benchmark: GalleryImages, forgets: list[int]) -> None:
        super().__init__()
        self.cheat, self.forgets = Cheat(benchmark), forgets
        self.register_buffer("met", torch.zeros(benchmark.class_count))
        self.weight = nn.Parameter(torch.zeros(()))
        self.labels: list[list[int]] = []
        self.seen: dict[int, list[Tensor]] = {}

    def training_step(self, batch, batch_idx: int) -> Tensor:
        for sample, view in zip(batch.ids.tolist(), batch.views[0], strict=True):
            self.seen.setdefault(sample, []).append(view)
        self.labels.append(batch.labels.unique().tolist())
        self.met[batch.labels] = 1
        if len(self.labels) == self.trainer.num_training_batches:
            self.met[self.forgets] = 0
        return self.weight * batch.views.mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def embed_image(self, pixels: Tensor) -> Tensor:
        return self.cheat.embed_image(pixels) * self.met


def test_one_task_after_the_other(fetched, tmp_path) -> None:
    ground = ready(fetched, PlacedFashion, tasks=2, class_count=4, train_size=800, task_epochs=2, batch_size=100)
    first = [label for label in range(4) if ground.task_of[label] == 0]
    assert len(first) == 2
    assert ground.task_starts() == [0, 8] and ready(fetched, PlacedFashion).task_starts() == [0]
    module = Counter(ground, forgets=first)
    trainer = L.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, use_distributed_sampler=False, limit_val_batches=0,
    )  # fmt: skip
    trainer.fit(module, ground)
    assert len(module.labels) == 16
    assert all(set(labels) <= set(first) for labels in module.labels[:8])
    assert not any(set(labels) & set(first) for labels in module.labels[8:])
    assert len(module.seen) == 800
    assert all(len(views) == 2 and not views[0].equal(views[1]) for views in module.seen.values())

    met = module.met.clone()
    found = ground.evaluate(module, "val")
    assert module.met.equal(met), "the weights are again those of the end"
    # After the first task two classes are known, and the other two look alike.
    assert found["continual/after1/task1"] == 1.0
    assert found["continual/after1/task2"] <= 0.5
    assert found["continual/after2/task2"] == found["continual/own"] == 1.0
    assert found[ground.primary].items.shape == (2000,)
    forgotten = torch.isin(ground.splits["val"].labels, torch.tensor(first))
    lost = (1 - found[ground.primary].items[forgotten]).mean()
    assert found["continual/forgetting"] == pytest.approx(float(lost)) and lost >= 0.5
    assert found["continual/forgetting"].items.shape == (2000,)

    trainer.save_checkpoint(tmp_path / "end.ckpt")
    state = torch.load(tmp_path / "end.ckpt", weights_only=True)["PlacedFashion"]
    other = ready(fetched, PlacedFashion, tasks=2, class_count=4, train_size=800)
    assert other.evaluate(module, "val")["continual/forgetting"] == 0, "it has not seen the training"
    other.load_state_dict(state)
    assert other.evaluate(module, "val") == found


def test_tasks_are_drawn_by_the_seed() -> None:
    tasks = [Stamps(tasks=5, class_count=100, seed=seed).task_of for seed in (0, 1)]
    assert all(task.bincount().tolist() == [20] * 5 for task in tasks)
    assert not tasks[0].equal(tasks[1])


@pytest.mark.parametrize(
    ("switches", "message"),
    [
        ({"class_count": 11}, "data.class_count is 11; it must be from 2 to 10"),
        ({"long_tail": 0.5}, "data.long_tail is 0.5; it must be at least 1, which is balanced"),
        (
            {"long_tail": 50},
            "data.train_size is 20000; of 10 classes with data.long_tail 50 it must be from 140 to 13999",
        ),
        ({"train_size": 50_001}, "data.train_size is 50001; of 10 classes it must be from 10 to 50000"),
        ({"tasks": 3}, "data.tasks is 3; it must part the 10 classes evenly, two at least in each: 1, 2, 5"),
        ({"tasks": 5, "task_epochs": 0}, "data.task_epochs is 0; it must be at least 1"),
    ],
)
def test_bad_switches_are_named(switches: dict, message: str) -> None:
    with pytest.raises(UserError) as error:
        PlacedFashion(**switches)
    assert str(error.value) == message


def test_bad_requests_are_named(placed: PlacedFashion) -> None:
    with pytest.raises(UserError, match="split is 'gallery'; it must be 'val' or 'test'"):
        placed.evaluate(Cheat(placed), "gallery")
    with pytest.raises(UserError, match="needs a module with embed_image; Linear has none"):
        placed.evaluate(nn.Linear(1, 1))


def test_a_pose_is_what_its_numbers_say() -> None:
    """A bright pixel in the upper right corner, halved, goes where it is sent."""
    picture = torch.zeros(1, 1, 32, 32)
    picture[..., :4, 28:] = 1

    def centre(u: list[float], **how) -> tuple[float, float]:
        out = posed(picture, torch.tensor([u]), scale=(0.5, 0.5), **how)[0, 0]
        rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
        return float((out * rows).sum() / out.sum()), float((out * columns).sum() / out.sum())

    middle = [0.0, 0.5, 0.5, 0.5, 0.9]
    assert centre(middle, degrees=0) == pytest.approx((8.5, 22.5), abs=0.1)
    assert centre([0.0, 0.5, 0.5, 0.5, 0.1], degrees=0, mirror=0.5) == pytest.approx((8.5, 8.5), abs=0.1)
    assert centre([0.0, 0.5, 0.0, 1.0, 0.9], degrees=0) == pytest.approx((16.5, 14.5), abs=0.1), "left, and down"
    assert centre([0.0, 1.0, 0.5, 0.5, 0.9], degrees=90) in (
        pytest.approx((22.5, 22.5), abs=0.1),
        pytest.approx((8.5, 8.5), abs=0.1),
    )


def test_bumps_and_bytes() -> None:
    u = torch.rand(3, 2 * 16, generator=torch.Generator().manual_seed(0))
    noise = bumps(u, 4, 16)
    assert noise.shape == (3, 2, 16, 16)
    assert noise.abs().max() <= 0.5
    assert noise[1, 1, 0, 0] == pytest.approx(float(u[1, 16] - 0.5)), "a corner has the value of its cell"
    assert to_bytes(torch.tensor([-1.0, 0.0, 0.5, 2.0])).tolist() == [0, 0, 128, 255]
    colours = torch.tensor([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]], dtype=torch.uint8)
    assert luma(colours[:, :, None, None]).flatten().tolist() == [76, 150, 29, 255]
