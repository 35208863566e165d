"""The generated benchmarks: exact splits, protocols that see, the same data for every seed."""

from collections.abc import Callable

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import Items
from common.benchmark import Benchmark
from common.errors import UserError
from common.population import linear_minimizer_of_samples
from common.random import normal
from common.training.method import Method
from data.benchmarks.mini.ecg import FINDINGS, NORMAL, Ecg, signals
from data.benchmarks.worlds.block_model import BlockModel
from data.benchmarks.worlds.circuits import Circuits, classes_of, degrees
from data.benchmarks.worlds.features import Features
from data.benchmarks.worlds.groups import CONTENT, GROUPS, Groups
from data.benchmarks.worlds.modular_addition import PRIME, ModularAddition
from data.benchmarks.worlds.numbers import Numbers, rule
from data.benchmarks.worlds.paired_points import PairedPoints
from data.benchmarks.worlds.slots import SlotSentences
from data.benchmarks.worlds.spheres import Spheres
from data.benchmarks.worlds.topics import MANNERS, TOPICS, WORDS, Topics

FINGERPRINTS = {
    "numbers": "fa8d3529", "modular_addition": "02b7b340", "spheres": "66e11a6d", "features": "66fd32be",
    "block_model": "40c91e3b", "circuits": "464e3fb6", "ecg": "fe52a264",
    "groups": "9cb04228", "paired_points": "e71aa12a", "topics": "c525cccb", "slots": "dad9c44a",
}  # fmt: skip
KINDS = [
    *(Numbers, ModularAddition, Spheres, Features, BlockModel, PairedPoints, Groups, Topics, Circuits, Ecg),
    SlotSentences,
]


def ready(benchmark: Benchmark) -> Benchmark:
    benchmark.setup()
    return benchmark


class Does(nn.Module):
    """A module with one method."""

    def __init__(self, **methods: Callable) -> None:
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(()))
        for name, method in methods.items():
            object.__setattr__(self, name, method)


@pytest.fixture(scope="module", params=KINDS)
def benchmark(request: pytest.FixtureRequest) -> Benchmark:
    return ready(request.param())


def test_the_data_is_pinned_and_the_same_for_every_seed(benchmark: Benchmark) -> None:
    assert benchmark.fingerprint()[:8] == FINGERPRINTS[benchmark.name]
    assert ready(type(benchmark)(seed=3, batch_size=16)).fingerprint() == benchmark.fingerprint()
    assert isinstance(benchmark.example(), str) and set(benchmark.sizes()) >= {"train", "val", "test"}


def test_floors_have_the_metrics_of_a_method(benchmark: Benchmark) -> None:
    rows = list(benchmark.floor().values())
    assert len(rows) >= 2 and all(row.keys() == rows[0].keys() for row in rows) and benchmark.primary in rows[0]


def test_batches_hold_train_samples_once(benchmark: Benchmark) -> None:
    loader = type(benchmark)(batch_size=16).train_dataloader()
    batches = [batch.ids for batch, _ in zip(loader, range(5), strict=False)]
    ids = torch.cat(batches)
    assert len(batches) == 5 and ids.unique().numel() == 80
    again = next(iter(type(benchmark)(batch_size=16).train_dataloader())).ids
    other = next(iter(type(benchmark)(batch_size=16, seed=1).train_dataloader())).ids
    assert again.equal(batches[0]) and not other.equal(batches[0])


def test_bad_modules_and_splits_are_named(benchmark: Benchmark) -> None:
    with pytest.raises(UserError, match=f"benchmark {benchmark.name} needs a module with .*; Linear has none"):
        benchmark.evaluate(nn.Linear(1, 1))
    with pytest.raises(UserError, match="split is 'train'; it must be 'val' or 'test'"):
        benchmark.evaluate(nn.Linear(1, 1), "train")


def test_numbers() -> None:
    numbers = ready(Numbers())
    every = torch.cat([part.ids for part in numbers.splits.values()])
    assert every.unique().numel() == 3500
    test = numbers.splits["test"]
    error = (test.answer - rule(test.given)).double()
    assert float(error.mean()) == pytest.approx(0, abs=0.6) and float(error.std()) == pytest.approx(8, abs=0.4)
    assert numbers.floor()["the rule"]["mae/argmax"] == pytest.approx(6.42, abs=0.01)
    assert ready(Numbers(noise=0.0)).floor()["the rule"] == {
        "accuracy/argmax": 1, "r2/argmax": 1, "mae/argmax": 0, "r2/expectation": 1, "mae/expectation": 0
    }  # fmt: skip
    # Half of the mass on either neighbour: the expectation is right, the likeliest answer is not.
    answer = {tuple(row): int(value) for row, value in zip(test.given.tolist(), test.answer, strict=True)}

    def beside(given: Tensor) -> Tensor:
        right = torch.tensor([answer[tuple(row)] for row in given.tolist()]).clamp(1, 98)
        return 50.0 * (F.one_hot(right - 1, 100) + F.one_hot(right + 1, 100))

    found = numbers.evaluate(Does(number_logits=beside))
    assert found["mae/expectation"] < 0.05 and 0.9 < found["mae/argmax"] <= 1.05


def test_modular_addition() -> None:
    table = ready(ModularAddition(train_share=0.8))
    pairs = [tuple(pair) for part in table.splits.values() for pair in part.given.tolist()]
    assert len(set(pairs)) == len(pairs) == PRIME**2
    for part in table.splits.values():
        own = {tuple(pair) for pair in part.given.tolist()}
        assert {(b, a) for a, b in own} == own
        assert (part.given.sum(1) % PRIME).equal(part.answer)
    small = ready(ModularAddition(train_share=0.4))
    assert set(small.splits["train"].ids.tolist()) < set(table.splits["train"].ids.tolist())
    assert small.splits["test"].ids.equal(table.splits["test"].ids)
    angle = torch.arange(PRIME) * 2 * torch.pi / PRIME
    circle = torch.stack([angle.cos(), angle.sin(), torch.zeros(PRIME)], dim=1)
    cheat = Does(
        number_logits=lambda given: F.one_hot(given.sum(1) % PRIME, PRIME).float(), embed_symbols=lambda: circle
    )
    assert table.evaluate(cheat) == pytest.approx({"accuracy/argmax": 1.0, "pca2_variance/symbols": 1.0})
    cheat.embed_symbols = lambda: torch.eye(PRIME)
    assert table.evaluate(cheat)["pca2_variance/symbols"] == pytest.approx(2 / 30)
    assert table.evaluate(Does(number_logits=lambda given: torch.zeros(len(given), PRIME)))["accuracy/argmax"] < 0.06


def test_spheres() -> None:
    spheres = ready(Spheres())
    points = spheres.splits["test"].views
    assert points.norm(dim=1).sub(1).abs().max() < 1e-5
    assert points.mean(dim=0).abs().max() < 0.03  # uniform

    # The layers can be undone, and whoever does so finds the points again.
    def undo(x: Tensor) -> Tensor:
        for number, layer in reversed(list(enumerate(spheres.layers))):
            if number < len(spheres.layers) - 1:
                x = x.where(x > 0, x / 0.2)
            x = x @ layer.T
        return x

    assert undo(spheres.observe(points)).sub(points).abs().max() < 1e-4
    found = spheres.evaluate(Does(embed_vectors=undo))
    assert found[spheres.primary] == pytest.approx(1.0, abs=1e-6)
    collapsed = spheres.evaluate(Does(embed_vectors=lambda x: torch.ones(len(x), 3)))
    assert abs(collapsed[spheres.primary]) < 0.02 and collapsed["uniformity/views"] == pytest.approx(0, abs=1e-5)
    assert spheres.floor()["input"][spheres.primary] == pytest.approx(0.77, abs=0.01)
    batch = next(iter(spheres.train_dataloader()))
    views = spheres.on_after_batch_transfer(batch, 0).views
    assert views.shape == (2, 256, 10) and not views[0].allclose(views[1])
    cosine = (spheres.moved(batch.views, batch.ids, 0, 0)[0] * batch.views).sum(1)
    assert 0.9 < float(cosine.mean()) < 0.99


def test_the_seed_draws_which_points_of_a_sphere_are_trained_on() -> None:
    all_ids, drawn = Spheres(), [ready(Spheres(32, seed=seed, train_size=8000)) for seed in (0, 1)]
    found = [set(spheres.train.ids.tolist()) for spheres in drawn]
    assert [len(ids) for ids in found] == [8000, 8000] and found[0] != found[1]
    assert found[0] < set(ready(all_ids).train.ids.tolist())
    assert len({spheres.fingerprint() for spheres in (all_ids, *drawn)}) == 3
    ids = torch.cat([batch.ids for batch in drawn[0].train_dataloader()])
    assert set(ids.tolist()) == found[0]
    # What is scored and what it is fitted on is the same for every seed.
    for split in ("train", "test"):
        assert drawn[0].splits[split].ids.equal(drawn[1].splits[split].ids)
    with pytest.raises(UserError, match=r"data.train_size is 10001; it must be from 1 to 10000"):
        Spheres(train_size=10_001)


def test_a_point_is_an_item_of_how_well_a_sphere_is_read() -> None:
    score = ready(Spheres()).floor()["input"]["linear_r2/latents"]
    assert score.items.shape == (2000,) and float(score.items.mean()) == pytest.approx(float(score))


def test_features() -> None:
    features = ready(Features())
    assert torch.dist(features.directions @ features.directions.T, torch.eye(3)) < 1e-5
    for part in features.splits.values():
        combinations = (features.signs[part.ids] > 0).long() @ torch.tensor([1, 2, 4])
        assert combinations.bincount().unique().numel() == 1
    first = features.directions[0]
    found = features.evaluate(Does(embed_vectors=lambda x: x @ first[:, None]))
    assert found["probe_linear_4shot/class"] > 0.99 and abs(found[features.primary] - 0.5) < 0.05
    mean = found["probe_linear_4shot/class_and_subclass"]
    assert mean == pytest.approx((found["probe_linear_4shot/class"] + found[features.primary]) / 2, abs=1e-9)
    assert len(mean.items) == 2000
    batch = next(iter(features.train_dataloader()))
    views = features.on_after_batch_transfer(batch, 0).views
    assert views.shape == (2, 200, 2000)
    assert float((views[0] - batch.views).norm(dim=1).mean()) == pytest.approx(15.0, abs=0.3)


def test_features_have_to_be_brought_out() -> None:
    """The vectors as they are leave a probe far from the oracle; what is learnt from the train vectors gets near it."""
    features = ready(Features())
    train = features.splits["train"]
    oracle = features.evaluate(Does(embed_vectors=lambda x: x @ features.directions.T))
    components = torch.linalg.svd(train.views, full_matrices=False).Vh[:3]
    learnt = features.evaluate(Does(embed_vectors=lambda x: x @ components.T))
    # The smallest solution that fits the classes: the class is there on fresh noise, the subclass has collapsed.
    fitted = torch.linalg.pinv(train.views) @ (2.0 * train.labels - 1)
    collapsed = features.evaluate(Does(embed_vectors=lambda x: (x @ fitted)[:, None]))
    floor = features.floor()["input"]
    assert floor[features.primary] < 0.7 < 0.95 < learnt[features.primary] < oracle[features.primary]
    assert oracle[features.primary] > 0.99
    assert collapsed["probe_linear_4shot/class"] > 0.95 and abs(collapsed[features.primary] - 0.5) < 0.03


def test_features_may_be_fewer_and_told_by_cell() -> None:
    parts = [ready(Features(seed=seed, train_size=320, told="cell")) for seed in (1, 2)]
    ids = [part.train.ids for part in parts]
    assert (
        not ids[0].equal(ids[1]) and parts[0].fingerprint() == parts[1].fingerprint() != ready(Features()).fingerprint()
    )
    signs = (parts[0].signs[ids[0]] > 0).long()
    assert (signs @ torch.tensor([1, 2, 4])).bincount().tolist() == [40] * 8
    assert parts[0].train.labels.equal(signs[:, 0] + 2 * signs[:, 1])
    batch = next(iter(Features(batch_size=320, train_size=320).train_dataloader()))
    assert batch.ids.unique().numel() == 320 and set(batch.labels.tolist()) == {0, 1}


def test_the_linear_spectral_loss_keeps_what_its_positives_share() -> None:
    """The smallest minimizer: told the class it has no subclass, untold and narrow the shortcut alone, by both all."""
    features = ready(Features())
    train, scale = features.train, features.augmentation / features.dimension**0.5

    def found(width: int, by_label: float) -> list[float]:
        w = linear_minimizer_of_samples(train.views, width, noise=scale, labels=train.labels, by_label=by_label).float()
        values = features.evaluate(Does(embed_vectors=lambda x: x @ w.T))
        return [float(values[f"probe_linear_4shot/{name}"]) for name in ("class", "subclass", "shortcut")]

    assert found(4, 1.0) == pytest.approx([0.906, 0.510, 0.500], abs=0.02)
    assert found(4, 0.0) == pytest.approx([0.936, 0.934, 0.978], abs=0.02)
    assert found(4, 0.5) == pytest.approx([0.906, 0.950, 0.947], abs=0.02)
    assert found(1, 0.0)[::2] == pytest.approx([0.5, 1.0], abs=0.03)


def test_block_model() -> None:
    blocks = ready(BlockModel())
    n = len(blocks.blocks)
    adjacency = blocks.graph.adjacency()
    assert adjacency.equal(adjacency.T) and not adjacency.diagonal().any()
    hot = F.one_hot(blocks.blocks).float()
    share = (hot.T @ adjacency @ hot) / (hot.sum(0)[:, None] * hot.sum(0))
    assert share[0, 1] == pytest.approx(0.05, abs=0.01) and share[0, 2] == share[1, 2] == 0
    assert share[1, 1] == pytest.approx(0.15, abs=0.01)
    assert blocks.evaluate(Does(embed_graph=lambda graph: hot)) == pytest.approx(
        {"kmeans/ari": 1.0, "cosine/minority_twin": 0.0, "cosine/within": 1.0, "pair_cosine/minority_twin": 0.0,
         "pair_cosine/twin_other": 0.0, "pair_cosine/minority_other": 0.0, "pair_cosine/twin_over_other": 0.0}
    )  # fmt: skip
    merged = hot @ torch.tensor([[1.0, 0], [1, 0], [0, 1]])
    found = blocks.evaluate(Does(embed_graph=lambda graph: merged + 1e-3 * normal(torch.arange(n), 2, 0)))
    assert found["cosine/minority_twin"] > 0.99 and found["kmeans/ari"] < 0.9
    assert set(blocks.splits["val"].tolist()).isdisjoint(blocks.splits["test"].tolist())


def test_cosines_of_blocks_are_means_over_pairs() -> None:
    blocks = ready(BlockModel(sizes_of_blocks=[8, 12, 20]))
    rows = F.normalize(normal(torch.arange(40), 6, 1), dim=1)
    found = blocks.evaluate(Does(embed_graph=lambda graph: 3 * rows), "val")
    first, second, third = range(0, 8, 2), range(8, 20, 2), range(20, 40, 2)
    pairs = ("minority_twin", first, second), ("twin_other", third, second), ("minority_other", first, third)
    for name, left, right in pairs:
        loop = [sum(float(rows[i] @ rows[j]) for i in left) / len(left) for j in right]
        assert found[f"pair_cosine/{name}"].items.tolist() == pytest.approx(loop, abs=1e-6)
    twin, other, over = (
        float(found[f"pair_cosine/{name}"]) for name in ("minority_twin", "minority_other", "twin_over_other")
    )
    assert over == pytest.approx(twin - other, abs=1e-6)


def test_a_graph_may_be_drawn_by_the_seed() -> None:
    graphs = [ready(BlockModel(seed=seed, graph="drawn", between=0.0)) for seed in (1, 1, 2)]
    edges = [blocks.graph.edges for blocks in graphs]
    assert edges[0].equal(edges[1]) and not edges[0].equal(edges[2])
    assert not (graphs[2].graph.adjacency()[:32, 32:]).any()
    # Seeds of one recipe stand on the same data, of which the graph is a draw.
    assert len({blocks.fingerprint() for blocks in graphs}) == 1
    assert (
        ready(BlockModel(graph="drawn")).fingerprint() != graphs[0].fingerprint() != ready(BlockModel()).fingerprint()
    )


def test_paired_points() -> None:
    pairs = ready(PairedPoints(count=60))
    halves = [set(pairs.splits[split].ids.tolist()) for split in ("val", "test")]
    assert len(halves[0] | halves[1]) == 60 and not halves[0] & halves[1]
    assert next(iter(PairedPoints(batch_size=16).train_dataloader())).ids.shape == (16,)
    cones = 3 * torch.tensor([1.0, -1.0])[:, None, None] + normal(torch.arange(120), 2, 2).view(2, 60, 2)
    apart = pairs.evaluate(Does(embed_items=lambda ids, side: cones[side, ids]))
    assert apart["linear_separability"] == 1 and apart["modality_gap"] > 1.5
    floor = pairs.floor()
    assert floor["the same"]["mrr/gallery30"] == 1 and floor["the same"]["modality_gap"] == 0
    assert floor["chance"]["mrr/gallery30"] < 0.4 and floor["chance"]["alignment"] == pytest.approx(2, abs=0.3)


class Drifting(Method):
    """Two sides that one parameter parts, by about a hundredth in each step."""

    def __init__(self) -> None:
        super().__init__(lr=0.01, schedule="constant")
        self.apart = nn.Parameter(torch.zeros(()))

    def training_step(self, batch: Items, batch_idx: int) -> Tensor:
        return self.log_loss(-self.apart)

    def embed_items(self, ids: Tensor, side: int) -> Tensor:
        rows = normal(ids, 4, 5)
        return rows + (2 * side - 1) * self.apart


def test_gaps_are_measured_on_the_way() -> None:
    pairs, module = PairedPoints(count=60, batch_size=20, moments=(0, 2, 5, 9)), Drifting()
    quiet = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
    trainer = L.Trainer(max_steps=5, accelerator="cpu", num_sanity_val_steps=0, limit_val_batches=0, **quiet)
    trainer.fit(module, pairs)
    found = pairs.evaluate(module)
    gaps = [found[f"modality_gap/step{step}"] for step in (0, 2, 5)]
    assert gaps[0] == 0 and 0 < gaps[1] < gaps[2] == found["modality_gap"] and "modality_gap/step9" not in found
    assert found["linear_separability/step5"] == found["linear_separability"]
    assert set(pairs.evaluate(module, "val")) - set(found) == set()
    other = PairedPoints(count=60, moments=(0, 2, 5, 9))
    other.load_state_dict(pairs.state_dict())
    kept = {k: v for k, v in found.items() if "/step" in k}
    assert kept.items() <= other.evaluate(module).items()
    assert not any("/step" in name for name in PairedPoints(count=60).evaluate(module))
    with pytest.raises(UserError, match=r"data.moments is \[-1\]"):
        PairedPoints(moments=(-1,))


def test_groups() -> None:
    groups = ready(Groups(redrawn=[1, 3], batch_size=16))
    batch = next(iter(groups.train_dataloader()))
    assert (batch.labels == -1).all() and groups.on_after_batch_transfer(batch, 0).views.shape == (2, 16, 40)
    views = groups.augmented(batch.views, batch.ids, 5)
    kept = [slice(0, CONTENT), groups.part(2)]
    assert all(views[:, :, part].equal(batch.views[:, part].expand(2, -1, -1)) for part in kept)
    for part in (groups.part(1), groups.part(3)):
        assert not views[0, :, part].allclose(views[1, :, part])
        assert float(views[:, :, part].std()) == pytest.approx(float(batch.views[:, part].std()), rel=0.3)
    jittered = ready(Groups(redrawn=[1], jitter=0.5)).augmented(batch.views, batch.ids, 5)
    assert float((jittered - batch.views)[:, :, :CONTENT].std()) == pytest.approx(0.5, abs=0.1)
    other = ready(Groups(seed=1))
    assert not other.train.ids.equal(groups.train.ids) and len(other.train.ids) == len(other.train.ids.unique()) == 8000
    assert other.splits["test"].views.equal(groups.splits["test"].views)


def test_the_class_is_behind_the_groups() -> None:
    """What each vector holds of its class is out of reach of the vectors as they are, and known to who undoes g."""
    groups = ready(Groups())

    def content(x: Tensor) -> Tensor:
        for number, layer in reversed(list(enumerate(groups.layers))):
            x = x if number == len(groups.layers) - 1 else x.where(x > 0, x / 0.2)
            x = x @ layer.T
        return x[:, :CONTENT]

    known, raw = (
        row[groups.primary] for row in (groups.evaluate(Does(embed_vectors=content)), groups.floor()["input"])
    )
    assert 0.35 < raw < 0.5 and 0.85 < known < 0.9
    latents = groups.splits["test"].views[:300].double()
    distances = [ready(Groups(redrawn=range(1, last + 1))).augmented_distance(latents) for last in range(GROUPS + 1)]
    assert torch.dist(distances[0], torch.cdist(latents, latents)) < 1e-3
    # Each group that is redrawn takes its own distance away, and brings more of a class within reach.
    for last in range(GROUPS):
        gone = latents[:, groups.part(last + 1)]
        assert (distances[last].square() - distances[last + 1].square()).allclose(torch.cdist(gone, gone).square())
    sigma = [ready(Groups(redrawn=range(1, last + 1))).concentration(12.0, "val") for last in range(GROUPS + 1)]
    assert sigma == sorted(sigma) and sigma[0] < 0.1 and sigma[-1] > 0.9


def test_blocks_have_to_be_learnt() -> None:
    """Adjacency and spectral embedding miss blocks that an oracle knows and that InfoNCE over the edges finds."""
    blocks = ready(BlockModel())
    n, adjacency = len(blocks.blocks), blocks.graph.adjacency()
    hot = F.one_hot(blocks.blocks).float()
    chance = torch.tensor([[0.15, 0.05, 1e-6], [0.05, 0.15, 1e-6], [1e-6, 1e-6, 0.15]])
    joined, apart = adjacency @ hot, hot.sum(dim=0) - hot - adjacency @ hot
    likelihood = joined @ chance.log() + apart @ (1 - chance).log()
    named = F.one_hot(likelihood.argmax(dim=1), 3).float()
    assert blocks.evaluate(Does(embed_graph=lambda graph: named))[blocks.primary] == pytest.approx(1.0)
    rows = nn.Parameter(normal(torch.arange(n), 10, 0))
    optimizer = torch.optim.Adam([rows], lr=0.05)
    for _ in range(400):
        unit = F.normalize(rows, dim=1)
        scores = unit @ unit.T
        loss = -((adjacency * scores).sum(dim=1) / adjacency.sum(dim=1)).mean() + scores.exp().mean(dim=1).log().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    learnt = blocks.evaluate(Does(embed_graph=lambda graph: rows.detach()))[blocks.primary]
    floor = {name: row[blocks.primary] for name, row in blocks.floor().items()}
    assert floor["adjacency"] < 0.7 and floor["spectral"] < 0.85 and learnt > 0.9


def test_circuits() -> None:
    circuits = ready(Circuits())
    train, test = circuits.splits["train"], circuits.splits["test"]
    low = [float((graph.target < 0.2).double().mean()) for graph in (train, test)]
    assert low[0] > 0.4 and low[1] < 0.15
    assert classes_of(torch.tensor([0.0, 0.2, 0.5, 1.0])).tolist() == [0, 1, 2, 4]
    hidden = []

    def truth(graph) -> Tensor:
        hidden.append(graph.target)
        return test.target

    found = circuits.evaluate(Does(predict_nodes=truth))
    assert found == {"r2/shifted": 1.0, "mae/shifted": 0.0, "mae/balanced": 0.0, "macro_f1/5classes": 1.0}
    assert hidden[0].isnan().all()
    floor = circuits.floor()
    assert floor["mean"]["r2/shifted"] < 0 < floor["degree"]["r2/shifted"] < 0.7
    assert degrees(test).sum() == test.edges.shape[1]
    with pytest.raises(UserError, match=r"predict_nodes returned \(3,\) for 600 nodes"):
        circuits.evaluate(Does(predict_nodes=lambda graph: torch.zeros(3)))


def test_ecg() -> None:
    ecg = ready(Ecg())
    assert ecg.splits["train"].signal.shape == (4000, 3, 400)
    names = list(FINDINGS)
    assert not (ecg.labels[:, names.index("bradycardia")] & ecg.labels[:, names.index("tachycardia")]).any()
    for text, label in zip(ecg.splits["val"].text, ecg.labels[ecg.splits["val"].ids].tolist(), strict=True):
        parts = text.split(", ") if text not in NORMAL else []
        assert [next(n for n, said in FINDINGS.items() if part in said) for part in parts] == [
            name for name, present in zip(names, label, strict=True) if present
        ]
    common = ecg.splits["train"].text_ids.bincount().sort().values[-3:].sum() / 4000
    assert 0.3 < common < 0.35
    known = {signal.numpy().tobytes(): label for part in ecg.splits.values()
             for signal, label in zip(part.signal, ecg.labels[part.ids].float(), strict=True)}  # fmt: skip
    read = lambda x: torch.stack([known[one.numpy().tobytes()] for one in x])  # noqa: E731
    said = {wordings[0]: row for wordings, row in zip(FINDINGS.values(), torch.eye(7), strict=True)}
    said[NORMAL[0]] = torch.full((7,), -1.0)
    found = ecg.evaluate(Does(embed_signal=read, embed_text=lambda texts: torch.stack([said[text] for text in texts])))
    assert found["probe_linear_5pct/macro_auc"] == pytest.approx(1.0) and found["zero_shot/macro_auc"] > 0.95
    constant = ecg.evaluate(Does(embed_signal=lambda x: torch.ones(len(x), 2)))
    assert constant == {"probe_linear_5pct/macro_auc": 0.5}
    assert ecg.floor()["spectrum"][ecg.primary] == pytest.approx(0.88, abs=0.01)


def test_topics() -> None:
    world = ready(Topics())
    part = world.splits["test"]
    (one, manner), (other, other_manner) = world.halves(part, 0), world.halves(part, 1)
    assert one.equal(part.views) and not one.equal(other) and set(one.sum(dim=1).tolist()) == {20.0}
    assert (manner == other_manner).double().mean() < 0.15 and manner.unique().numel() == MANNERS
    # Words are as frequent as in their topic and the manners together.
    for topic in (0, 7):
        ids = torch.arange(4000)
        counts, _ = world.drawn(torch.full_like(ids, topic), ids, 9)
        expected = world.log_words[topic].exp().mean(dim=0)
        assert float((counts.mean(dim=0) / 20 - expected).abs().max()) < 0.004

    # Bayes' rule, document by document.
    found = world.posteriors(one)
    for row in (0, 13):
        likely = []
        for topic in range(TOPICS):
            each = [
                sum(float(one[row, w] * world.log_words[topic, m, w]) for w in range(WORDS)) for m in range(MANNERS)
            ]
            likely.append(torch.tensor(each, dtype=torch.float64).logsumexp(0))
        torch.testing.assert_close(found[row], torch.stack(likely).softmax(0), rtol=1e-6, atol=1e-9)
    right = found[torch.arange(2000), part.labels]
    assert float(right.mean()) == pytest.approx(float(found.square().sum(dim=1).mean()), abs=0.01)

    # What each topic's likelihood tells is all, and says nothing of the manner; the words as they are tell it too.
    told = world.evaluate(Does(embed_vectors=lambda x: world.posteriors(x).log().float()))
    assert 0 <= told[world.primary] < 0.03 and told["manner_probe200/top1"] < 0.15 < 0.8 < told["topic_probe200/top1"]
    nothing = world.floor()["nothing"]
    assert nothing[world.primary] == pytest.approx(2.62, abs=0.05) and nothing["topic_probe200/top1"] == 0.05
    ours = world.evaluate(Does(embed_vectors=lambda x: x @ world.log_words.mean(dim=0).float().T))
    assert ours["manner_probe200/top1"] > 0.5 and ours[world.primary] > 2
    plain = ready(Topics(manner=0.0))
    assert float(plain.posteriors(plain.splits["val"].views).max(dim=1).values.mean()) > 0.99


def test_halves_are_drawn_anew_and_labels_are_hidden() -> None:
    world = ready(Topics(batch_size=32, train_size=100))
    batch = next(iter(world.train_dataloader()))
    views = world.on_after_batch_transfer(batch, 0)
    assert views.views.shape == (2, 32, WORDS) and set(views.labels.tolist()) == {-1} and views.ids.equal(batch.ids)
    world.moment = lambda: 1  # type: ignore[method-assign]
    assert not world.on_after_batch_transfer(batch, 0).views.equal(views.views)
    assert not ready(Topics(seed=1, batch_size=32, train_size=100)).train.ids.equal(world.train.ids)
    assert world.on_after_batch_transfer("val", 0) == "val"


def test_findings_shape_the_signal() -> None:
    """The same recording with and without a finding."""
    ids = torch.arange(200)
    plain = torch.zeros(200, 7, dtype=torch.long)

    def change(name: str) -> Tensor:
        label = plain.clone()
        label[:, list(FINDINGS).index(name)] = 1
        return signals(label, ids) - signals(plain, ids)

    # The segment is raised, or lowered, in every lead and never the other way.
    assert change("st elevation").amax() == pytest.approx(0.2 * 1.6, abs=0.2) and change("st elevation").min() > -0.1
    assert change("st depression").min() < -0.1 and change("t wave inversion").mean() < 0
    # 120 beats a minute against 75, counted where the second lead rises through 0.7.
    fast = plain.clone()
    fast[:, list(FINDINGS).index("tachycardia")] = 1
    leads = [signals(label, ids)[:, 1] for label in (fast, plain)]
    beats = [((lead[:, :-1] < 0.7) & (lead[:, 1:] >= 0.7)).sum() for lead in leads]
    assert float(beats[0] / beats[1]) == pytest.approx(120 / 75, abs=0.15)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Numbers(noise=-1), "data.noise is -1; it must be at least 0"),
        (lambda: ModularAddition(train_share=0.9), "data.train_share is 0.9; it must be above 0 and at most 0.8"),
        (lambda: Spheres(dimension=1), "data.dimension is 1; it must be at least 2"),
        (lambda: Features(shortcut=-1), "data.shortcut is -1; it must be at least 0"),
        (lambda: BlockModel(sizes_of_blocks=[3, 4, 5]), "it must be three numbers, each at least 4"),
        (lambda: BlockModel(graph="random"), "data.graph is 'random'; it must be 'fixed' or 'drawn'"),
        (lambda: Features(train_size=100), "data.train_size is 100; it must be a multiple of 8, at most 400"),
        (lambda: Features(told="subclass"), "data.told is 'subclass'; it must be 'class' or 'cell'"),
        (lambda: Groups(redrawn=[1, 1]), r"data.redrawn is \[1, 1\]; it must be some of 1, 2 and 3, each once"),
        (lambda: Groups(redrawn=[0]), r"data.redrawn is \[0\]; it must be some"),
        (lambda: Groups(train_size=0), "data.train_size is 0; it must be from 1 to 10,000"),
        (lambda: Topics(length=0), "data.length is 0; it must be at least 1"),
        (lambda: Topics(manner=1.0), "data.manner is 1.0; it must be from 0 to below 1"),
        (lambda: Topics(train_size=20_000), "data.train_size is 20000; it must be from 1 to 12,000"),
        (lambda: PairedPoints(count=9), "data.count is 9; it must be at least 10"),
        (lambda: BlockModel(between=2), r"data.between is 2; it must be in \[0, 1\]"),
    ],
)
def test_bad_arguments_are_named(make: Callable, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()
