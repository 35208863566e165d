"""The parts of a contrastive captioner: who sees whom, and the outputs of open_clip's modules with the same weights."""

import json
import zlib
from pathlib import Path

import pytest
import torch
from torch import Tensor

from common.encoders.captioner import AttentionPooler, MultimodalDecoder, UnimodalDecoder
from common.errors import UserError

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "encoders" / "open_clip_coca.json").read_text())
PAD = 0


def weights(shapes: dict[str, list[int]]) -> dict[str, Tensor]:
    """Anybody can make these: cosines whose frequency is the name's checksum, around 1 where a norm scales."""
    made = {}
    for key, shape in shapes.items():
        wave = torch.arange(torch.Size(shape).numel(), dtype=torch.float64) * (1 + zlib.crc32(key.encode()) % 97 / 97)
        scales = key.split(".")[-2:][0].startswith("ln_") and key.endswith("weight")
        made[key] = (0.8 * wave.cos() + scales).reshape(shape).float()
    return made


def test_the_pooler_gives_what_open_clips_gives() -> None:
    pooler, theirs = AttentionPooler(3, 8, 2), weights(GOLDEN["pooler"]["shapes"])
    names = {"query": "queries", "ln_q": "query_norm", "ln_k": "state_norm", "attn": "attention"}
    pooler.load_state_dict({names[k.split(".")[0]] + k[len(k.split(".")[0]) :]: v for k, v in theirs.items()})
    with torch.no_grad():
        found = pooler((1.7 * torch.arange(2 * 5 * 8)).cos().reshape(2, 5, 8))
    torch.testing.assert_close(found, torch.tensor(GOLDEN["pooler"]["output"]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("training", [True, False])  # torch has another path for evaluation
def test_the_lower_half_gives_what_open_clips_gives(training: bool) -> None:
    golden = GOLDEN["text"]
    theirs, ids = weights(golden["shapes"]), torch.tensor(golden["ids"])
    reader = UnimodalDecoder(9, PAD, 5, 8, 2, 2).train(training)
    parts = {"ln_1": "norm1", "attn": "self_attn", "ln_2": "norm2", "mlp.c_fc": "linear1", "mlp.c_proj": "linear2"}
    ours = {}
    for key, value in theirs.items():
        if key.startswith("transformer"):
            number, _, rest = key.removeprefix("transformer.resblocks.").partition(".")
            part = next(part for part in parts if rest.startswith(part))
            ours[f"layers.{number}.{parts[part]}{rest[len(part) :]}"] = value
    reader.load_state_dict(
        ours
        | {
            "table.weight": theirs["token_embedding.weight"],
            "positions": theirs["positional_embedding"][:5],
            # Theirs has a position, always the last.
            "summary": theirs["cls_emb"] + theirs["positional_embedding"][5],
            "summary_norm.weight": theirs["ln_final.weight"],
            "summary_norm.bias": theirs["ln_final.bias"],
        }
    )
    with torch.no_grad():
        words, summary = reader(ids)
    real = ids != PAD
    torch.testing.assert_close(words[real], torch.tensor(golden["words"])[real], atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(summary, torch.tensor(golden["summary"]), atol=1e-4, rtol=1e-5)


def halves() -> tuple[UnimodalDecoder, MultimodalDecoder]:
    torch.manual_seed(0)
    reader, writer = UnimodalDecoder(11, PAD, 8, 16, 2, 2), MultimodalDecoder(11, 16, 2, 2)
    return reader.double(), writer.double()


IDS = torch.tensor([[3, 4, 5, 6, 7, 1], [3, 8, 9, 1, 0, 0]])
MEMORY = torch.randn(2, 4, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_a_later_word_never_changes_earlier_logits() -> None:
    reader, writer = halves()
    before = writer(reader(IDS)[0], MEMORY)
    for place in range(1, IDS.shape[1]):
        ids = IDS.clone()
        ids[0, place] = 10
        after = writer(reader(ids)[0], MEMORY)
        torch.testing.assert_close(after[0, :place], before[0, :place], rtol=0, atol=1e-12)
        assert not torch.allclose(after[0, place], before[0, place])


def test_words_do_not_see_the_summary() -> None:
    reader, writer = halves()
    with_summary, without = reader(IDS), reader(IDS, summarize=False)
    assert with_summary[0].shape == without[0].shape and without[1] is None
    torch.testing.assert_close(with_summary[0], without[0], rtol=0, atol=1e-12)
    reader.summary.data[::2] += 1.0
    changed = reader(IDS)
    torch.testing.assert_close(changed[0], without[0], rtol=0, atol=1e-12)
    assert not torch.allclose(changed[1], with_summary[1])
    # No gradient of a caption's logits reaches the [CLS].
    writer(reader(IDS)[0], MEMORY).sum().backward()
    assert not reader.summary.grad.any() and reader.summary_norm.weight.grad is None


def test_the_summary_sees_every_word_and_no_padding() -> None:
    reader, _ = halves()
    summary = reader(IDS)[1]
    for row, length in enumerate((6, 4)):
        for place in range(length):
            ids = IDS.clone()
            ids[row, place] = 10
            assert not torch.allclose(reader(ids)[1][row], summary[row], atol=1e-6), "a word it does not see"
    longer = torch.cat([IDS, torch.zeros(2, 2, dtype=torch.int64)], dim=1)
    torch.testing.assert_close(reader(longer)[1], summary, rtol=0, atol=1e-12)
    # What embeds padding has no influence either.
    reader.table.weight.data[PAD, ::2] += 1.0
    torch.testing.assert_close(reader(longer)[1], summary, rtol=0, atol=1e-12)


def test_padding_has_no_influence_on_real_words() -> None:
    reader, writer = halves()
    together, alone = writer(reader(IDS)[0], MEMORY), writer(reader(IDS[1:, :4])[0], MEMORY[1:])
    torch.testing.assert_close(together[1, :4], alone[0], rtol=0, atol=1e-12)


def test_only_the_upper_half_sees_the_picture() -> None:
    reader, writer = halves()
    words, _ = reader(IDS)
    memory = MEMORY.clone().requires_grad_()
    logits = writer(words, memory)
    for place in range(IDS.shape[1]):
        (seen,) = torch.autograd.grad(logits[0, place].square().sum(), memory, retain_graph=True)
        assert (seen[0] != 0).any(dim=1).all() and not seen[1].any(), "a token of its picture, or of another"


def test_layers_begin_apart() -> None:
    reader, writer = halves()
    for half in (reader, writer):
        one, other = (layer.self_attn.in_proj_weight for layer in half.layers)
        assert not torch.equal(one, other)


def test_the_pooler_pools_what_it_is_given() -> None:
    torch.manual_seed(0)
    pooler = AttentionPooler(3, 16, 2)
    states = torch.randn(2, 5, 16)
    pooled = pooler(states)
    assert pooled.shape == (2, 3, 16) and not torch.allclose(pooled[:, 0], pooled[:, 1])
    torch.testing.assert_close(pooler(states.flip(1)), pooled)
    torch.testing.assert_close(pooler(states[1:])[0], pooled[1])


def test_bad_arguments() -> None:
    with pytest.raises(UserError, match=r"queries is 0; it must be at least 1"):
        AttentionPooler(0, 16, 2)
    with pytest.raises(UserError, match=r"heads is 3; it must divide the width, which is 16"):
        AttentionPooler(1, 16, 3)
    with pytest.raises(UserError, match=r"heads is 3; it must divide the width, which is 16"):
        MultimodalDecoder(11, 16, 3, 1)
