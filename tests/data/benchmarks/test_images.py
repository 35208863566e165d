"""MNIST-5k and Fashion-MNIST: splits without leakage, the same for everyone, and switches that do what they say."""

import math

import lightning as L
import pytest
import torch
from torch import Tensor, nn

from common.errors import UserError
from common.table import take
from data.benchmarks.bases.images import LabelledImages, RawPixels, stratified
from data.benchmarks.mini.digits import Digits
from data.benchmarks.mini.fashion import Fashion
from data.sources.fashion_mnist import FASHION_MNIST
from data.sources.mnist5k import MNIST5K

SIZES = {Digits: (3500, 500, 1000), Fashion: (55_000, 5000, 10_000)}


@pytest.fixture(scope="module", params=[Digits, Fashion])
def benchmark(request: pytest.FixtureRequest, fetched) -> LabelledImages:
    fetched(*request.param.sources)
    return ready(request.param())


@pytest.fixture(scope="module")
def digits(fetched) -> Digits:
    fetched(MNIST5K)
    return ready(Digits(batch_size=128))


def ready(benchmark: LabelledImages) -> LabelledImages:
    benchmark.prepare_data()
    benchmark.setup()
    return benchmark


def fashion(fetched, **switches) -> Fashion:
    fetched(FASHION_MNIST)
    return ready(Fashion(**switches))


class Cheat(nn.Module):
    """Knows the class of every picture by its pixels: whatever it scores below 1 is the protocol's fault."""

    def __init__(self, benchmark: LabelledImages) -> None:
        super().__init__()
        self.known = {}
        for part in benchmark.splits.values():
            for picture, label in zip(part.pixels, part.labels.tolist(), strict=True):
                self.known[picture.numpy().tobytes()] = label

    def embed_image(self, pixels: Tensor) -> Tensor:
        labels = torch.tensor([self.known[picture.numpy().tobytes()] for picture in pixels])
        return torch.nn.functional.one_hot(labels, 10).float()

    def classify_image(self, pixels: Tensor) -> Tensor:
        return self.embed_image(pixels)


def test_counts(benchmark: LabelledImages) -> None:
    sizes = [len(benchmark.splits[split].ids) for split in ("train", "val", "test")]
    assert tuple(sizes) == SIZES[type(benchmark)]
    for part in benchmark.splits.values():
        assert part.labels.bincount().unique().numel() == 1
        assert part.pixels.shape[1:] == (1, 28, 28)
        assert part.pixels.dtype == torch.uint8
    assert len(benchmark.classes) == 10


def test_no_picture_stands_in_two_splits(benchmark: LabelledImages) -> None:
    seen: dict[bytes, str] = {}
    for split, part in benchmark.splits.items():
        for picture in part.pixels:
            assert seen.setdefault(picture.numpy().tobytes(), split) == split
    ids = torch.cat([part.ids for part in benchmark.splits.values()])
    assert ids.unique().numel() == len(ids)


def test_splits_are_the_same_for_every_seed(benchmark: LabelledImages) -> None:
    other = ready(type(benchmark)(seed=7, batch_size=32))
    assert other.fingerprint() == benchmark.fingerprint()


def test_fingerprints_are_pinned(benchmark: LabelledImages) -> None:
    """The benchmark of a record is the benchmark of today."""
    expected = {"mnist5k": "0fd6ca72", "fashion": "fa111fcc"}
    assert benchmark.fingerprint()[:8] == expected[benchmark.name]


def test_perfect_embedding_scores_one_and_constant_scores_chance(digits: Digits) -> None:
    perfect = digits.evaluate(Cheat(digits))
    assert -0.1 < perfect.pop("probe_linear/log_likelihood") < 0
    # One-hot logits are right and far from sure, which a temperature cures.
    unsure = math.e / (math.e + 9)
    assert perfect.pop("classifier/log_likelihood") == pytest.approx(math.log(unsure))
    assert perfect.pop("classifier/ece15") == pytest.approx(1 - unsure)
    assert perfect.pop("classifier/brier") == pytest.approx((1 - unsure) ** 2 + 9 * ((1 - unsure) / 9) ** 2)
    assert -1e-6 < perfect.pop("classifier/log_likelihood_scaled") <= 0
    assert perfect.pop("classifier/ece15_scaled") == pytest.approx(0, abs=1e-6)
    assert perfect == {"knn20_cosine/top1": 1.0, "probe_linear/top1": 1.0, "classifier/top1": 1.0}

    class Constant(nn.Module):
        def embed_image(self, pixels: Tensor) -> Tensor:
            return torch.ones(len(pixels), 4)

    constant = digits.evaluate(Constant(), "val")
    assert constant.pop("probe_linear/log_likelihood") == pytest.approx(math.log(0.1))
    assert constant == {"knn20_cosine/top1": 0.1, "probe_linear/top1": 0.1}


def test_floor_has_the_metrics_of_a_method(digits: Digits) -> None:
    floor = digits.floor()
    assert digits.primary in floor["chance"]
    assert floor["chance"].keys() == floor["raw pixels"].keys()
    assert floor["chance"][digits.primary] == 0.1
    assert floor["chance"]["probe_linear/log_likelihood"] == math.log(0.1)
    assert 0.85 < floor["raw pixels"]["probe_linear/top1"] < 0.9
    assert 0.92 < floor["raw pixels"]["knn20_cosine/top1"] < 0.96


def test_training_batches(digits: Digits) -> None:
    loader = digits.train_dataloader()
    assert len(loader) == 3500 // 128
    batches = [digits.on_after_batch_transfer(batch, 0) for batch in loader]
    assert batches[0].views.shape == (2, 128, 1, 28, 28)
    assert batches[0].views.dtype == torch.float32
    assert batches[0].views.min() >= 0
    assert batches[0].views.max() <= 1
    assert not torch.allclose(batches[0].views[0], batches[0].views[1])
    ids = torch.cat([batch.ids for batch in batches])
    assert ids.unique().numel() == 27 * 128
    assert set(ids.tolist()) <= set(digits.splits["train"].ids.tolist())
    label = dict(zip(digits.train.ids.tolist(), digits.train.labels.tolist(), strict=True))
    labels = torch.cat([batch.labels for batch in batches])
    assert [label[i] for i in ids.tolist()] == labels.tolist()


def test_views_depend_on_sample_seed_and_epoch_alone(digits: Digits) -> None:
    batch = next(iter(digits.train_dataloader()))
    whole = digits.augmented(batch, epoch=2)
    half = digits.augmented(take(batch, torch.arange(64, 128)), epoch=2)
    assert torch.allclose(half.views, whole.views[:, 64:], atol=1e-6)
    assert not torch.allclose(digits.augmented(batch, epoch=3).views, whole.views)
    other = ready(Digits(batch_size=128, seed=1))
    assert not torch.allclose(other.augmented(batch, epoch=2).views, whole.views)


def test_lightning_trains_on_views_of_its_epoch(fetched) -> None:
    fetched(MNIST5K)
    digits = ready(Digits(batch_size=128))

    class Recorder(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(()))
            self.seen: list[tuple[int, Tensor, Tensor]] = []
            self.scored: list[str] = []

        def training_step(self, batch, batch_idx: int) -> Tensor:
            self.seen.append((self.current_epoch, batch.ids, batch.views))
            return self.weight * batch.views.mean()

        def validation_step(self, split: str, batch_idx: int) -> None:
            self.scored.append(split)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    module = Recorder()
    trainer = L.Trainer(
        max_epochs=2, limit_train_batches=2, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(module, digits)
    assert module.scored == ["val", "val"]
    assert [epoch for epoch, _, _ in module.seen] == [0, 0, 1, 1]
    assert set(module.seen[0][1].tolist()) != set(module.seen[2][1].tolist())
    row = {int(i): row for row, i in enumerate(digits.train.ids)}
    for epoch, ids, views in module.seen:
        batch = take(digits.train, torch.tensor([row[i] for i in ids.tolist()]))
        assert torch.allclose(digits.augmented(batch, epoch).views, views, atol=1e-6)


def test_train_size(fetched) -> None:
    small = fashion(fetched, train_size=1000)
    assert small.train.labels.bincount().tolist() == [100] * 10
    larger = fashion(fetched, train_size=2000)
    assert set(small.train.ids.tolist()) < set(larger.train.ids.tolist())
    assert small.fingerprint() != larger.fingerprint()


def test_long_tail_falls_geometrically(fetched) -> None:
    sizes = fashion(fetched, train_size=20_000, long_tail=100).train.labels.bincount()
    assert (int(sizes[0]), int(sizes[9])) == (2000, 20)
    ratios = sizes[:-1].float() / sizes[1:]
    assert (ratios - 100 ** (1 / 9)).abs().max() < 0.05


def test_label_noise_replaces_its_share(fetched) -> None:
    noisy, clean = fashion(fetched, train_size=20_000, label_noise=0.4), fashion(fetched, train_size=20_000)
    assert torch.equal(noisy.train.ids, clean.train.ids)
    wrong = noisy.train.labels != clean.train.labels
    assert abs(float(wrong.float().mean()) - 0.4) < 3 * math.sqrt(0.4 * 0.6 / 20_000)
    shift = (noisy.train.labels - clean.train.labels)[wrong] % 10
    assert shift.bincount(minlength=10)[1:].min() > 750  # 8,000 wrong labels over nine classes
    assert noisy.gallery(500).labels.equal(clean.gallery(500).labels)
    again = fashion(fetched, train_size=20_000, label_noise=0.4, seed=1)
    assert not torch.equal(again.train.labels, noisy.train.labels)


def test_wrong_labels_of_few_digits(fetched) -> None:
    """The seed draws the pictures by their true class, and then which of their labels are wrong."""
    fetched(MNIST5K)
    noisy, clean = ready(Digits(shots=40, label_noise=0.5, seed=3)), ready(Digits(shots=40, seed=3))
    assert torch.equal(noisy.train.ids, clean.train.ids)
    assert 0.4 < float((noisy.train.labels != clean.train.labels).float().mean()) < 0.6
    assert noisy.fingerprint() == ready(Digits(shots=40, label_noise=0.5)).fingerprint() != clean.fingerprint()


def test_the_seed_draws_which_classes_are_rare(fetched) -> None:
    fetched(MNIST5K)
    draws = [ready(Digits(long_tail=10, rare="drawn", seed=seed)) for seed in range(4)]
    sizes = [draw.train.labels.bincount() for draw in draws]
    assert all(size.sort().values.equal(sizes[0].sort().values) for size in sizes)
    assert sizes[0].max() == 350 and sizes[0].min() == 35
    assert len({int(size.argmax()) for size in sizes} | {int(size.argmin()) for size in sizes}) > 3
    assert len({draw.fingerprint() for draw in draws}) == 1
    assert draws[0].fingerprint() != ready(Digits(long_tail=10)).fingerprint()
    assert draws[0].splits["test"].labels.bincount().tolist() == [100] * 10


def test_coarse_labels_train_and_fine_labels_score(fetched) -> None:
    coarse = fashion(fetched, labels="coarse")
    assert coarse.train.labels.bincount().tolist() == [22_000, 11_000, 16_500, 5500]
    assert coarse.splits["test"].labels.unique().numel() == 10

    class Sorter(RawPixels):
        """Sorts into the right group but not by fine class."""

        def classify_image(self, pixels: Tensor) -> Tensor:
            labels = [known[picture.numpy().tobytes()] for picture in pixels]
            return torch.nn.functional.one_hot(coarse.training_labels(torch.tensor(labels)), 4)

    known = Cheat(coarse).known
    assert coarse.evaluate(Sorter())["classifier/top1"] == 1.0


def test_shots_are_drawn_by_the_seed_and_add_a_harder_probe(digits: Digits) -> None:
    few, other = ready(Digits(shots=5)), ready(Digits(shots=5, seed=1))
    assert few.train.labels.bincount().tolist() == [5] * 10
    assert not few.train.ids.equal(other.train.ids)
    assert torch.isin(few.train.ids, digits.splits["train"].ids).all()
    assert few.fingerprint() == other.fingerprint() != digits.fingerprint()
    metrics = few.evaluate(RawPixels())
    assert 0.4 < metrics["probe_linear_5shot/top1"] < metrics["probe_linear/top1"] - 0.1
    assert metrics["probe_linear_5shot/log_likelihood"] < metrics["probe_linear/log_likelihood"] < 0
    # What a classifier is held against saw the same pictures.
    floor = few.floor()
    assert floor["raw pixels"]["classifier/top1"] == floor["raw pixels"]["probe_linear_5shot/top1"]
    assert floor["chance"]["classifier/log_likelihood"] == math.log(0.1) and "classifier/top1" in floor["chance"]


@pytest.mark.parametrize(
    ("switch", "message"),
    [
        ({"train_size": 15}, "data.train_size is 15; it must be a multiple of 10"),
        ({"long_tail": 0.5}, "data.long_tail is 0.5; it must be at least 1"),
        ({"label_noise": 1.5}, "data.label_noise is 1.5; it must be in"),
        ({"shots": 0}, "data.shots is 0; it must be at least 1"),
        ({"views": 0}, "data.views is 0; it must be at least 1"),
        ({"batch_size": 0}, "data.batch_size is 0"),
    ],
)
def test_bad_switches_are_named(switch: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Fashion(**switch)


def test_bad_requests_are_named(digits: Digits) -> None:
    with pytest.raises(UserError, match="split is 'train'; it must be 'val' or 'test'"):
        digits.evaluate(RawPixels(), "train")
    with pytest.raises(UserError, match="needs a module with embed_image; Linear has none"):
        digits.evaluate(nn.Linear(1, 1))


def test_stratified_parts_are_disjoint(digits: Digits) -> None:
    first, second, rest = stratified(digits.splits["train"], [10, 20, -1], key=9)
    assert [part.labels.bincount().tolist() for part in (first, second)] == [[10] * 10, [20] * 10]
    ids = torch.cat([first.ids, second.ids, rest.ids])
    assert ids.sort().values.equal(digits.splits["train"].ids.sort().values)


def test_few_classes(fetched) -> None:
    few = fashion(fetched, class_count=3, train_size=1000)
    assert few.sizes() == {"train": 300, "val": 1500, "test": 3000}
    assert few.gallery(50).labels.unique().tolist() == [0, 1, 2]
    assert few.floor()["chance"][few.primary] == 1 / 3


def test_a_long_tail_of_digits_and_grey_pictures_stay(fetched) -> None:
    fetched(MNIST5K)
    tailed = ready(Digits(long_tail=10, colour=False))
    sizes = tailed.train.labels.bincount()
    assert (int(sizes[0]), int(sizes[9])) == (350, 35)
    assert tailed.splits["test"].pixels.shape == (1000, 1, 28, 28)


def test_new_switches_leave_old_records_valid() -> None:
    """Runs on record know none of them, but for Fashion's long tail and wrong labels."""
    for kind, expected in (
        (Digits, {"class_count", "colour", "rare", "long_tail", "label_noise", "class_means"}),
        (Fashion, {"class_count", "colour", "rare", "class_means"}),
    ):
        assert {name for base in kind.__mro__ for name in vars(base).get("added_later", {})} == expected


@pytest.mark.parametrize(("switch", "value"), [("class_count", 11), ("class_count", 1), ("long_tail", 0.0)])
def test_what_is_out_of_range_is_named(switch: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"data\.{switch} is {value}; it must be (from 2 to 10|at least 1)"):
        Digits(**{switch: value})


def test_class_means_are_added_of_what_is_trained_on(fetched) -> None:
    fetched(MNIST5K)
    benchmark = ready(Digits(class_means=True, long_tail=5.0))
    found = benchmark.evaluate(Cheat(benchmark), "val")
    assert found["class_means/orthogonal_distance"] == found["class_means/frame_distance"] == pytest.approx(0, abs=1e-9)
    assert found["class_means/top1"] == 1.0 and found["class_means/top1"].items.shape == (500,)
    assert not [name for name in ready(Digits()).evaluate(Cheat(benchmark), "val") if name.startswith("class_means")]
    floor = benchmark.floor()
    assert floor["chance"]["class_means/top1"] == 0.1 and "class_means/frame_distance" not in floor["chance"]
    assert floor["raw pixels"]["class_means/frame_distance"] > 0.3
