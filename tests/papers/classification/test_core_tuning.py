"""Core-tuning: the released step, the step as loops, its two tasks, and the same on several processes."""

from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import papers.classification.core_tuning.mixed as mixed
from common.batches import Images
from common.errors import UserError
from harness.recipes import catalog, recipe
from papers.classification.core_tuning import properties
from papers.classification.core_tuning.mixed import mixed_rows, random_pairs, released_pairs
from papers.classification.core_tuning.module import CoreTuning
from tests.golden.recorded import Case, load, summary
from tests.oracles.focal import focal_sup_con
from tests.processes import on_processes

STEPS = [case for case in load() if case.name.startswith("core_tuning/step")]
LABELS = torch.tensor([0, 1, 2, 0, 1, 0, 2, 1])


def module(**arguments: Any) -> CoreTuning:
    torch.manual_seed(0)
    made = CoreTuning(**{"classes": 3, "width": 4, "projection_dim": 5, **arguments})
    made.log_loss = lambda loss, **terms: loss  # without a trainer there is no log
    return made.double().train()


def batch(own: slice = slice(None)) -> Images:
    pixels = torch.rand(1, 8, 1, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.double)
    return Images(pixels[:, own], LABELS[own], torch.arange(8)[own] * 3)


@pytest.mark.parametrize("case", STEPS, ids=lambda case: case.name)
def test_the_released_step_has_this_value_and_gradient(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    x, given = case.inputs(), case.constants()
    shares = torch.stack([given["share_negative_64ths"], given["share_positive_64ths"]], dim=1).double() / 64
    monkeypatch.setattr(mixed, "beta", lambda *arguments: shares)
    monkeypatch.setattr(mixed, "permuted", lambda *arguments: given["order"])
    classes = len(x["classifier"])
    method = module(classes=classes, mining="released", detached=True, mean_over="all", weight=case.arguments["weight"])
    method.classifier = Given(x["classifier"])
    method.network.head = nn.Sequential(
        Given(x["input_weight"], x["input_bias"]), nn.ReLU(), Given(x["output_weight"], x["output_bias"])
    )
    features, labels = x["features"].abs(), given["labels"]
    classify, contrast = method.terms(method.rows(features, labels, torch.arange(len(labels))))
    value = classify + method.weight * contrast
    assert value.item() == pytest.approx(case.value, rel=1e-10)
    for (name, recorded), gradient in zip(
        case.gradients.items(), torch.autograd.grad(value, list(x.values())), strict=True
    ):
        for what, ours in summary(gradient).items():
            assert ours == pytest.approx(recorded[what], rel=1e-8, abs=1e-9 * recorded["norm"]), (name, what)


class Given(nn.Module):
    """A linear map of these weights, which stay leaves of the test."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.given = weight, bias

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, *self.given)


def step_by_loops(method: CoreTuning, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """The loss of `batch`, one row after the other, with shares of 0.9 and 0.3 and the next row as the other."""
    monkeypatch.setattr(mixed, "beta", lambda *arguments: torch.tensor([[0.9, 0.3]] * 8, dtype=torch.double))
    monkeypatch.setattr(mixed, "permuted", lambda *arguments: torch.arange(8).roll(-1))
    z, n = method.network.encoder(batch().views[0]), len(LABELS)
    unit = z / z.norm(dim=1, keepdim=True)
    one_hot = torch.eye(3, dtype=torch.double)[LABELS]
    rows = [(z[i].detach() if method.detached else z[i], one_hot[i]) for i in range(n)]
    rows += [(0.9 * z[(i + 1) % n] + 0.1 * z[i], 0.9 * one_hot[(i + 1) % n] + 0.1 * one_hot[i]) for i in range(n)]
    for i in range(n):
        cosine = [float(unit[i] @ unit[j]) for j in range(n)]
        positive = min((j for j in range(n) if j != i and LABELS[j] == LABELS[i]), key=cosine.__getitem__)
        negative = max((j for j in range(n) if LABELS[j] != LABELS[i]), key=cosine.__getitem__)
        rows.append((0.3 * z[positive] + 0.7 * z[negative], 0.3 * one_hot[positive] + 0.7 * one_hot[negative]))
    features, targets = (torch.stack(column) for column in zip(*rows, strict=True))
    classify = -sum(t @ (method.classifier.weight @ f).log_softmax(0) for f, t in rows) / len(rows)
    codes = method.network.head(features)
    codes = codes / codes.norm(dim=1, keepdim=True)
    # Rows of the same distribution over the classes are of one kind.
    kinds = torch.tensor([next(k for k in range(len(rows)) if torch.allclose(targets[k], t)) for t in targets])
    return classify + method.weight * focal_sup_con(codes, kinds, **method.contrast)


@pytest.mark.parametrize(
    "arguments", [{}, {"detached": True, "mean_over": "all", "gamma": 0.0}], ids=["described", "other"]
)
def test_the_step_is_that_of_loops(arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    method = module(weight=0.7, **arguments)
    expected = step_by_loops(method, monkeypatch)
    found = method.training_step(batch(), 0)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=0)
    weights = list(method.parameters())
    for ours, theirs in zip(*(torch.autograd.grad(x, weights) for x in (found, expected)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-10)


def test_without_mixtures_and_weight_it_is_cross_entropy() -> None:
    method = module(mining="none", weight=0.0)
    logits = method.classifier(method.network.encoder(batch().views[0]))
    torch.testing.assert_close(method.training_step(batch(), 0), F.cross_entropy(logits, LABELS))


def test_mixtures_have_the_shares_that_were_drawn() -> None:
    features = torch.randn(8, 3, generator=torch.Generator().manual_seed(0), dtype=torch.double).abs()
    rows = mixed_rows(features, LABELS, torch.arange(8), 3, "random", 1.0, 5)
    _, negative, positive = rows.targets.chunk(3)
    assert torch.equal(rows.features[:8], features)
    torch.testing.assert_close(rows.targets.sum(dim=1), torch.ones(24))
    of_own = negative[torch.arange(8), LABELS]
    alike = negative.max(dim=1).values == 1
    assert ((of_own <= 0.2 + 1e-6) | alike).all()
    assert (positive[torch.arange(8), LABELS] < 1).all() and ((positive > 0).sum(dim=1) == 2).all()


@pytest.mark.parametrize("mining", ["hardest", "released", "random"])
def test_rows_of_a_kind_have_the_same_shares_of_all_classes(mining: str) -> None:
    draw = torch.Generator().manual_seed(0)
    features, labels = torch.rand(64, 3, generator=draw), torch.randint(10, (64,), generator=draw)
    targets, kinds = mixed_rows(features, labels, torch.arange(64), 10, mining, 1.0, 5)[1:]
    assert torch.equal(kinds[:, None] == kinds, (targets[:, None] == targets).all(dim=2))
    single = (targets > 0).sum(dim=1) == 1
    assert (targets[single].max(dim=1).values == 1).all(), "a mixture of one class is a row of it, to the last digit"
    alike = (kinds[64:128, None] == kinds[64:128]).sum(dim=1) > 1
    assert alike[~single[64:128]].sum() > 10, "semi-hard negatives of the same two classes, at a share of 0.8"


def test_random_pairs_are_of_the_same_and_of_another_class() -> None:
    labels, own = torch.tensor([0, 1, 1, 2, 1, 0]), torch.arange(6)
    seen = set()
    for seed in range(30):
        draws = torch.rand(6, 2, generator=torch.Generator().manual_seed(seed))
        first, second = random_pairs(torch.zeros(6, 2), labels, draws)
        assert torch.equal(labels[first], labels) and (labels[second] != labels).all()
        assert torch.equal(first == own, labels == 2)  # who is alone stands for itself
        seen |= {(4, int(first[4])), (0, int(second[0]))}
    assert seen == {(4, 1), (4, 2), (0, 1), (0, 2), (0, 3), (0, 4)}


def test_a_mask_by_multiplication_is_told_from_mining() -> None:
    """The properties can fail: what they say of the released pairs is not so of the described ones, and of features of
    either sign not of the released."""
    assert properties.released_mining(0) == 0 and max(properties.described_mining(0).values()) < 1e-12
    features, labels = properties.drawn(0)
    first, _ = released_pairs(features, labels)
    hardest, _ = properties.hardest_of_labels(features, labels)
    assert (first != hardest).float().mean() > 0.9
    signed, _ = released_pairs(features - features.mean(), labels)
    assert (signed != first).float().mean() > 0.5


class Watch(L.Callback):
    """Remembers of each step the rate, whether the classifier learns, and the labels that came."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.learns: list[bool] = []
        self.labels: list[set[int]] = []
        self.heads: list[Tensor] = []

    def on_train_batch_start(
        self, trainer: L.Trainer, module: L.LightningModule, batch: Images, batch_idx: int
    ) -> None:
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        self.labels.append(set(batch.labels.tolist()))

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *_: Any) -> None:
        assert isinstance(module, CoreTuning)
        self.learns.append(module.classifier.weight.requires_grad)
        self.heads.append(module.network.head[0].weight.detach().clone())


def test_the_tuning_begins_anew_on_what_the_pretraining_left() -> None:
    config = dict(recipe.load_recipe(catalog.find("core_tuning"), "mini.yaml").data)
    config.pop("seed_everything")
    switches = {"batch_size": 16, "unlabelled_steps": 3, "labelled_steps": 3, "train_size": 200, "shots": 5}
    config["data"]["init_args"] |= switches
    config["model"]["init_args"] |= {"warmup": 0.0, "schedule": "constant", "lr": 0.002, "pretraining_lr": 0.005}
    watch = Watch()
    trainer, method, benchmark = recipe.build(recipe.with_seed(config, 0), callbacks=(watch,))
    trainer.fit(method, benchmark)
    assert watch.rates == pytest.approx([0.005] * 3 + [0.002] * 3)
    assert watch.learns == [False] * 3 + [True] * 3
    assert watch.labels[:3] == [{-1}] * 3 and all(min(labels) >= 0 for labels in watch.labels[3:])
    moved = [float((b - a).norm()) for a, b in zip(watch.heads, watch.heads[1:], strict=False)]
    assert moved[2] > 5 * max(moved[:2])  # the head is drawn again
    steps = {int(state["step"]) for state in trainer.optimizers[0].state.values()}
    assert steps == {3}


@pytest.mark.parametrize("mining", ["hardest", "random"])
def test_processes_agree_with_one(mining: str) -> None:
    cuts = (0, 3, 8)

    def step(own: slice) -> tuple[Tensor, list[Tensor]]:
        method = module(mining=mining)
        loss = method.training_step(batch(own), 0)
        loss.backward()
        return loss.detach(), [p.grad for p in method.parameters()]

    def work() -> tuple[Tensor, list[Tensor]]:
        rank = torch.distributed.get_rank()
        return step(slice(cuts[rank], cuts[rank + 1]))

    expected, gradients = step(slice(None))
    found = on_processes(2, work)
    for loss, _ in found:
        torch.testing.assert_close(loss, expected, rtol=1e-10, atol=0)
    for k, reference in enumerate(gradients):
        # Each process has the gradient of the sum over processes, and DDP takes the mean.
        torch.testing.assert_close(sum(theirs[k] for _, theirs in found) / 2, reference, rtol=1e-8, atol=1e-10)


def test_what_is_out_of_range_is_refused() -> None:
    with pytest.raises(UserError, match=r"model.detached is true; with model.mining 'none'"):
        module(mining="none", detached=True)
    with pytest.raises(UserError, match=r"model.classes is 2; the data have a class 2, from 0 on"):
        module(classes=2).training_step(batch(), 0)
    with pytest.raises(UserError, match=r"model.classes is 3; the data have a class -1, from 0 on"):
        module().training_step(batch()._replace(labels=LABELS - 1), 0)
    with pytest.raises(UserError, match=r"model.weight -1: expected a finite number at least 0"):
        module(weight=-1)
