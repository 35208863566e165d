"""The cached gradient is that of the whole batch, costs the activations of a chunk, and no collective more."""

import copy
import weakref
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext

import lightning as L
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from common.distributed import gather, shards
from common.encoders.norms import with_global_statistics
from common.errors import UserError
from common.training import grad_cache
from common.training.grad_cache import cached_forward

WIDTH = 8


class Words(nn.Module):
    """A transformer with dropout over sequences of token ids; the embedding is the mean of the last layer."""

    def __init__(self, dropout: float = 0.1) -> None:
        super().__init__()
        self.tokens = nn.Embedding(20, WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, 2, 16, dropout, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, ids: Tensor) -> Tensor:
        return self.layers(self.tokens(ids)).mean(1)


def words(n: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 20, (n, 5), generator=torch.Generator().manual_seed(seed))


def contrast(query: Tensor, key: Tensor, scale: Tensor) -> Tensor:
    """InfoNCE over all processes, written out."""
    layout = shards(len(query), query.device)
    query, key = gather(query, layout), gather(key, layout)
    return F.cross_entropy(scale * query @ key.T, torch.arange(len(query)))


def by_chunks(encode: Callable[[Tensor], Tensor], inputs: Tensor, chunk_size: int, **_) -> Tensor:
    """What `cached_forward` must equal: all chunks with their graph."""
    return torch.cat([encode(chunk) for chunk in inputs.split(chunk_size)])


def gradients(forward: Callable, modules: list[nn.Module], n: int, chunk_size: int) -> tuple[Tensor, list[Tensor]]:
    """The loss of two encodings of n samples, its gradients, and the last of them that of a learned scale."""
    torch.manual_seed(3)
    scale = nn.Parameter(torch.tensor(2.0, dtype=torch.float64))
    parameters = [*nn.ModuleList(modules).parameters(), scale]
    query = forward(modules[0], words(n), chunk_size)
    key = forward(modules[-1], words(n, seed=1), chunk_size)
    loss = contrast(query, key, scale)
    return loss.detach(), torch.autograd.grad(loss, parameters)


def encoders(count: int) -> list[nn.Module]:
    torch.manual_seed(7)
    return [Words().double() for _ in range(count)]


@pytest.mark.parametrize("count", [1, 2], ids=["one encoder", "two encoders"])
@pytest.mark.parametrize(("n", "chunk_size"), [(16, 4), (17, 8), (64, 8)])
def test_with_dropout_the_gradient_is_that_of_the_whole_batch(count: int, n: int, chunk_size: int) -> None:
    modules = encoders(count)
    loss, expected = gradients(by_chunks, modules, n, chunk_size)
    cached_loss, cached = gradients(cached_forward, modules, n, chunk_size)
    assert cached_loss == loss
    for a, b in zip(cached, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


def test_without_replay_the_gradient_is_another(monkeypatch) -> None:
    modules = encoders(1)
    _, expected = gradients(by_chunks, modules, 16, 4)
    monkeypatch.setattr(grad_cache, "replay", lambda state: nullcontext())
    _, other = gradients(cached_forward, modules, 16, 4)
    assert max((a - b).abs().max() for a, b in zip(other, expected, strict=True)) > 1e-3


def test_without_dropout_chunks_change_nothing() -> None:
    modules = [module.eval() for module in encoders(1)]
    _, whole = gradients(cached_forward, modules, 32, None)
    _, cached = gradients(cached_forward, modules, 32, 4)
    for a, b in zip(cached, whole, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


def test_the_random_stream_goes_on_as_without_the_cache() -> None:
    modules = encoders(1)
    gradients(by_chunks, modules, 16, 4)
    expected = torch.rand(3)
    gradients(cached_forward, modules, 16, 4)
    assert torch.equal(torch.rand(3), expected)


def test_gradients_accumulate_on_what_is_there() -> None:
    module = nn.Linear(3, 2)
    module.weight.grad = torch.ones(2, 3)
    cached_forward(module, torch.ones(4, 3), 2).sum().backward()
    assert torch.equal(module.weight.grad, torch.full((2, 3), 5.0))


def test_two_biases_in_a_row_share_a_gradient_tensor_but_not_a_sum() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))

        def forward(self, x: Tensor) -> Tensor:
            return x * 0 + (self.a + self.b).expand(len(x), 2)

    module = Twice()
    cached_forward(module, torch.ones(6, 2), 2).sum().backward()
    assert module.a.grad.tolist() == module.b.grad.tolist() == [6.0, 6.0]


def test_the_backward_pass_runs_in_the_precision_of_the_forward_pass() -> None:
    torch.manual_seed(0)
    module, x = nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, 4)), torch.randn(12, 6)
    target = torch.randn(4)

    def grads(forward: Callable) -> list[Tensor]:
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=forward is not by_chunks):
            embeddings = forward(module, x, 5)
            assert embeddings.dtype == torch.bfloat16
            # A plain use of the same weights after a use without graph: autocast's cache must not cut it.
            loss = (embeddings.float() * target).sum() + module(x).float().square().sum()
        return torch.autograd.grad(loss * 1024, list(module.parameters()))

    for a, b in zip(grads(cached_forward), grads(by_chunks), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-4)


def peak_saved_bytes(step: Callable[[], Tensor]) -> int:
    """The most bytes that autograd holds at once, over a forward and a backward pass."""
    live = peak = 0

    class Kept:
        def __init__(self, tensor: Tensor) -> None:
            nonlocal live, peak
            self.tensor = tensor
            live += tensor.nbytes
            peak = max(peak, live)
            weakref.finalize(self, release, tensor.nbytes)

    def release(size: int) -> None:
        nonlocal live
        live -= size

    with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
        step().backward()
    return peak


def test_activations_do_not_grow_with_the_batch() -> None:
    module = encoders(1)[0]
    embedding = WIDTH * 8  # bytes a row, kept once for this linear loss

    def peak(n: int, chunk_size: int | None) -> int:
        weight = torch.ones(WIDTH, dtype=torch.float64)
        return peak_saved_bytes(lambda: (cached_forward(module, words(n), chunk_size) * weight).sum())

    small, large = peak(32, 8), peak(512, 8)
    assert large - small <= (512 - 32) * embedding
    assert peak(512, None) > 15 * peak(32, None) > 15 * small


class TwoTowers(L.LightningModule):
    """Steps 0, 1 and 2 take the same batch plain, in chunks of 3 and in chunks of 2; writes what each step did."""

    def __init__(self, path: str) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.query, self.key = Words(dropout=0.0), Words(dropout=0.0)
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.path, self.seen = path, []

    def encode_query(self, ids: Tensor) -> Tensor:
        return self.query(ids)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        chunk_size = (None, 3, 2)[self.global_step]
        # A method of this module, which owns `key` and `scale` too, and a module that is its own owner.
        query = cached_forward(self.encode_query, batch[0], chunk_size)
        key = cached_forward(self.key, batch[1], chunk_size)
        return contrast(query, key, self.scale)

    def on_before_backward(self, loss: Tensor) -> None:
        self.loss = loss.detach().clone()
        self.profile = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])
        self.profile.start()

    def on_after_backward(self) -> None:
        self.profile.stop()
        calls = Counter(event.name for event in self.profile.events() if event.name.startswith("c10d::"))
        self.seen.append((self.loss, [p.grad.clone() for p in self.parameters()], calls))

    def on_train_end(self) -> None:
        if self.global_rank == 0:
            torch.save(self.seen, self.path)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)

    def train_dataloader(self) -> DataLoader:
        rank, world = self.global_rank, self.trainer.world_size
        data = TensorDataset(words(16)[rank::world], words(16, seed=1)[rank::world])
        return DataLoader(data, batch_size=16 // world)


def fit(path: str, **options) -> list[tuple[Tensor, list[Tensor], Counter]]:
    trainer = L.Trainer(
        accelerator="cpu",
        precision="64-true",
        max_epochs=3,
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    trainer.fit(TwoTowers(path))
    return torch.load(path)


@pytest.mark.filterwarnings("ignore")
def test_two_processes_give_one_process_gradient_and_one_reduction(tmp_path) -> None:
    single = fit(str(tmp_path / "one"), devices=1)
    ddp = DDPStrategy(process_group_backend="gloo", start_method="spawn")
    double = fit(str(tmp_path / "two"), devices=2, strategy=ddp)
    expected_loss, expected, _ = single[0]
    for loss, grads, _ in single + double:
        torch.testing.assert_close(loss, expected_loss, rtol=0, atol=1e-12)
        for a, b in zip(grads, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-10)
    plain, chunks_of_3, chunks_of_2 = (calls for _, _, calls in double)
    # Two for the backward of the gathered query and key, one for the bucket of all parameters.
    assert plain == chunks_of_3 == chunks_of_2 == {"c10d::allreduce_": 3}


def test_a_batch_of_one_chunk_is_embedded_directly() -> None:
    calls = []
    module = nn.Linear(3, 2)
    module.register_forward_hook(lambda *_: calls.append(1))
    cached_forward(module, torch.ones(4, 3), 4).sum().backward()
    assert len(calls) == 1


def test_texts_tuples_and_dicts_are_cut() -> None:
    class Lookup(nn.Linear):
        def forward(self, batch: dict) -> Tensor:
            texts, (x, _) = batch["texts"], batch["pair"]
            assert len(texts) == len(x) <= 2
            return super().forward(x) * torch.tensor([[float(len(t))] for t in texts])

    module, x = Lookup(3, 2), torch.randn(5, 3)
    batch = {"texts": ["a", "bb", "ccc", "dd", "e"], "pair": (x, x)}
    expected = torch.nn.functional.linear(x, module.weight, module.bias) * torch.tensor([[1.0], [2], [3], [2], [1]])
    torch.testing.assert_close(cached_forward(module, batch, 2), expected)


def test_a_frozen_encoder_in_a_larger_module_gets_no_gradient() -> None:
    both = nn.ModuleDict({"frozen": nn.Linear(3, 2).requires_grad_(False), "head": nn.Linear(2, 2)})
    embeddings = cached_forward(both["frozen"], torch.ones(4, 3), 2, module=both)
    both["head"](embeddings).sum().backward()
    assert both["frozen"].weight.grad is None and both["head"].weight.grad is not None


def test_what_would_be_wrong_is_refused() -> None:
    x = torch.ones(4, 3)
    linear = nn.Linear(3, 2)
    with pytest.raises(UserError, match="chunk_size is 0"):
        cached_forward(linear, x, 0)
    with pytest.raises(UserError, match="neither a module nor a module's method"):
        cached_forward(lambda chunk: linear(chunk), x, 2)
    with pytest.raises(UserError, match=r"have \[3, 4\] samples"):
        cached_forward(linear, (x, x[:3]), 2)
    with pytest.raises(UserError, match="type int"):
        cached_forward(linear, 3, 2)
    with pytest.raises(UserError, match="inputs require a gradient"):
        cached_forward(linear, x.requires_grad_(), 2)
    with pytest.raises(UserError, match="made 1 rows of 2 samples"):
        cached_forward(lambda chunk: linear(chunk).mean(0, keepdim=True), torch.ones(4, 3), 2, module=linear)


@pytest.mark.parametrize("statistics", [nn.Module.train, with_global_statistics], ids=["own", "global"])
def test_batch_normalization_is_refused_unless_it_is_frozen(statistics: Callable[[nn.Module], nn.Module]) -> None:
    module = nn.Sequential(nn.Linear(3, 3), statistics(nn.BatchNorm1d(3)))
    with pytest.raises(UserError, match="'1' normalizes over the batch"):
        cached_forward(module, torch.ones(4, 3), 2)
    module.eval()
    cached_forward(module, torch.ones(4, 3), 2).sum().backward()


def test_a_parameter_that_would_lose_its_gradient_is_refused() -> None:
    linear, prompt = nn.Linear(3, 2), nn.Parameter(torch.zeros(3))
    embeddings = cached_forward(lambda chunk: linear(chunk + prompt), torch.ones(4, 3), 2, module=linear)
    with pytest.raises(UserError, match=r"parameter of shape \(3,\) that module does not own"):
        embeddings.sum().backward()


def test_no_graph_is_kept_where_no_gradient_is_wanted() -> None:
    module = copy.deepcopy(encoders(1)[0])
    with torch.no_grad():
        assert not cached_forward(module, words(6), 2).requires_grad
