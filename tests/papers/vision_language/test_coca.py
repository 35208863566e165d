"""CoCa: who sees whom, both losses against plain loops, its arms, its captions."""

import math
from pathlib import Path

import lightning as L
import pytest
import torch
from torch import Tensor

from common.batches import ImageText
from common.encoders.vocabulary import TOKENS, learn_pieces
from common.errors import UserError
from common.protocols import Captions
from data.benchmarks.worlds.small_scenes import SmallScenes
from data.scenes.pieces import START
from papers.vision_language.coca import properties
from papers.vision_language.coca.module import CoCa, Unimodal
from papers.vision_language.coca.show_captions import main
from papers.vision_language.coca.vocabulary import read_vocabulary

TEXTS = ["a small dog", "a large red circle below a small fox", "a small white ring at the top left", "a large tent"]
SIZE = dict(width=16, heads=2, image_layers=1, unimodal_layers=1, queries=3)


def small(kind: type[Unimodal] = CoCa, **arguments) -> Unimodal:
    torch.manual_seed(0)
    upper = {"multimodal_layers": 1} if kind is CoCa else {}
    module = kind(**SIZE | upper | arguments).double()
    module.logged = {}
    module.log = lambda name, value, **rest: module.logged.update({name: value})
    return module


def batch() -> ImageText:
    pixels = torch.rand(1, 4, 3, 48, 48, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ids = torch.tensor([5, 1, 8, 3])
    return ImageText(pixels, [TEXTS], ids, ids)


def gradients(module: Unimodal, given: ImageText) -> dict[str, Tensor]:
    module.training_step(given, 0).backward()
    return {name: p.grad for name, p in module.named_parameters()}


def logits(module: CoCa, ids: Tensor, pixels: Tensor) -> Tensor:
    return module.writer(module.read(ids)[0], module.look(pixels)[0])


def test_a_later_word_never_changes_earlier_logits_and_padding_none() -> None:
    module, pixels = small(), batch().pixels
    ids = module.tokenize(TEXTS)
    before = logits(module, ids, pixels)
    changed = ids.clone()
    changed[:, 4:] = 7
    torch.testing.assert_close(logits(module, changed, pixels)[:, :4], before[:, :4], rtol=0, atol=1e-12)
    alone = logits(module, module.tokenize(TEXTS[:1]), pixels[:1])
    torch.testing.assert_close(before[:1, : alone.shape[1]], alone, rtol=0, atol=1e-12)


def test_the_vector_of_a_caption_sees_its_words_and_nothing_else() -> None:
    module = small().eval()
    together, alone = module.embed_text(TEXTS), torch.cat([module.embed_text([text]) for text in TEXTS])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)
    others = module.embed_text([text.replace("small", "large") for text in TEXTS])
    assert [torch.allclose(*pair) for pair in zip(together, others, strict=True)] == [False, False, False, True]
    assert torch.allclose(together.norm(dim=1), torch.ones(4).double())


def test_captions_come_from_the_words_without_the_summary() -> None:
    """The [CLS] and the contrastive pooler have no say in a caption and get no gradient of its loss."""
    module, given = small(), batch()
    seen = []
    module.writer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    grads = gradients(small(contrast=1e-300), given)
    apart = {name for name in grads if name.startswith(("reader.summary", "contrastive_pooler", "temperature"))}
    assert len(apart) == 4 + 9 and all(float(grads[name].abs().max()) < 1e-200 for name in apart)
    # What is added to all keys of an attention changes nothing.
    others = {name for name in grads.keys() - apart if not name.endswith("k_proj.bias")}
    assert all(float(grads[name].abs().max()) > 1e-12 for name in others)
    ids = module.tokenize(TEXTS)
    module.rows((given.pixels, ids))
    assert seen == [ids.shape[1] - 1], "every word but the last predicts the next"


def test_both_losses_are_those_of_plain_loops() -> None:
    module, given = small(), batch()
    total = module.training_step(given, 0)
    image, text = module.look(given.pixels)[1], module.embed_text(TEXTS)
    n, contrast = len(TEXTS), 0.0
    for one, other in ((image, text), (text, image)):
        for i in range(n):
            scores = [math.exp(float(one[i] @ other[j]) / 0.07) for j in range(n)]
            contrast -= math.log(scores[i] / sum(scores)) / n
    lost, words = 0.0, 0
    for row, caption in enumerate(TEXTS):
        ids = module.tokenize([caption])
        chances = logits(module, ids, given.pixels[row : row + 1])[0].log_softmax(-1)
        for place in range(1, ids.shape[1]):
            lost, words = lost - float(chances[place - 1, ids[0, place]]), words + 1
    assert module.logged["train/contrast"] == pytest.approx(contrast, rel=1e-6)
    assert module.logged["train/caption"] == pytest.approx(lost / words, rel=1e-9)
    assert float(total) == pytest.approx(contrast + 2 * lost / words, rel=1e-6)


def test_the_likelihood_of_a_caption_is_the_mean_over_its_words() -> None:
    module = small()
    pixels = torch.randint(0, 256, (4, 3, 48, 48), dtype=torch.uint8)
    found = module.caption_log_likelihood(pixels, TEXTS)
    for row, caption in enumerate(TEXTS):
        ids = module.tokenize([caption])
        chances = logits(module, ids, pixels[row : row + 1].double() / 255)[0].log_softmax(-1)
        expected = chances[:-1].gather(1, ids[0, 1:, None]).mean()
        assert float(found[row].detach()) == pytest.approx(float(expected.detach()), rel=1e-6)


def test_negatives_are_the_other_pairs_of_the_batch() -> None:
    """Without one pair the contrast of the others changes, and so does its mean; the same caption is no exception."""
    module, given = small(Unimodal), batch()
    twice = given._replace(texts=[[TEXTS[0], TEXTS[0], *TEXTS[2:]]])
    for batch_ in (given, twice):
        module.training_step(batch_, 0)
        scores = module.look(batch_.pixels)[1] @ module.embed_text(batch_.text).T / 0.07
        both = scores.logsumexp(0) + scores.logsumexp(1) - 2 * scores.diagonal()
        assert module.logged["train/contrast"] == pytest.approx(float(both.mean()), rel=1e-6)


def test_chunks_have_the_gradient_of_the_batch() -> None:
    whole, cut = gradients(small(), batch()), gradients(small(chunk_size=3), batch())
    for name, gradient in whole.items():
        torch.testing.assert_close(cut[name], gradient, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize(
    ("kind", "arguments", "absent"),
    [
        (Unimodal, {}, {"writer"}),
        (Unimodal, {"pooler": "parallel"}, {"writer", "generative_pooler"}),
        (CoCa, {"contrast": 0.0}, {"contrastive_pooler", "temperature"}),
        (CoCa, {"pooler": "parallel"}, set()),
        (CoCa, {}, set()),
    ],
)
def test_an_arm_has_what_it_trains_and_no_more(kind: type[Unimodal], arguments: dict, absent: set[str]) -> None:
    module = small(kind, **arguments)
    grads = gradients(module, batch())
    assert all(gradient is not None and gradient.any() for gradient in grads.values())
    parts = {"image", "generative_pooler", "contrastive_pooler", "temperature", "reader", "writer"}
    assert {name.split(".")[0] for name in grads} == parts - absent
    assert isinstance(module, Captions) == (kind is CoCa)
    assert set(module.logged) - {"train/loss"} == {"train/contrast", "train/caption"} - (
        {"train/caption"} if kind is Unimodal else {"train/contrast"} if absent else set()
    )
    pixels = torch.randint(0, 256, (2, 3, 48, 48), dtype=torch.uint8)
    assert module.float().embed_image(pixels).shape == module.embed_text(TEXTS[:2]).shape == (2, 16)


def test_the_contrast_stands_on_the_captioners_tokens_or_beside_them() -> None:
    for pooler, stands in (("cascade", True), ("parallel", False)):
        module = small(pooler=pooler)
        module.look(batch().pixels)[1].sum().backward()
        assert (module.generative_pooler.queries.grad is not None) == stands


def test_one_pass_of_each_half_a_step() -> None:
    module, calls = small(), []
    for name in ("image.body", "generative_pooler", "contrastive_pooler", "reader", "writer"):
        module.get_submodule(name).register_forward_hook(lambda *_, name=name: calls.append(name))
    module.training_step(batch(), 0)
    assert sorted(calls) == sorted(set(calls)) and len(calls) == 5


def test_greedy_captions_are_the_likeliest_words_and_end() -> None:
    module = small().float().eval()
    pixels = torch.randint(0, 256, (3, 3, 48, 48), dtype=torch.uint8)
    with torch.no_grad():
        said = module.captions(pixels)
        start = module.vocabulary.id_of(START)
        for row, caption in enumerate(said):
            ids = [start]
            while len(ids) < 44 and ids[-1] != TOKENS.end:
                chances = logits(module, torch.tensor([ids]), pixels[row : row + 1].float() / 255)[0, -1]
                chances[TOKENS.pad] = -math.inf
                ids.append(int(chances.argmax()))
            assert module.vocabulary.texts([ids]) == [caption]
    drawn = [module.captions(pixels, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_few_scenes_are_learnt_by_heart(tmp_path: Path, fetched, capsys) -> None:
    """After some steps on four scenes the model captions them right, and finds them: the pieces fit together."""
    fetched(*SmallScenes.sources)
    scenes = SmallScenes(train_size=4, batch_size=4, brightness=0.0, contrast=0.0)
    module = small(lr=0.01, schedule="constant", image_size=24).float()
    quiet = dict(logger=False, enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False)
    trainer = L.Trainer(max_steps=160, accelerator="cpu", limit_val_batches=0, use_distributed_sampler=False, **quiet)
    del module.log
    trainer.fit(module, scenes)
    with torch.no_grad():
        module.eval()
        assert module.captions(scenes.train.pixels) == scenes.train.texts[0]
        scores = module.embed_image(scenes.train.pixels) @ module.embed_text(scenes.train.texts[0]).T
    assert scores.argmax(1).tolist() == scores.argmax(0).tolist() == [0, 1, 2, 3]
    trainer.save_checkpoint(tmp_path / "four.ckpt")
    capsys.readouterr()
    main([str(tmp_path / "four.ckpt"), "--count", "3", "--split", "val"])
    head, _, *shown = capsys.readouterr().out.splitlines()
    assert head == "| the picture shows | greedy | drawn |" and len(shown) == 3
    val = scenes.splits["val"]
    assert [row.split(" | ")[0] for row in shown] == [f"| {val.texts[0][i * (len(val.ids) // 3)]}" for i in range(3)]
    assert not any("✓" in row for row in shown), "it knows four captions, and these are none of them"


def test_the_vocabulary_has_whole_words() -> None:
    vocabulary = read_vocabulary(None, 279)
    text = "a small Christmas tree at the top left, a large blue crescent in the middle and a small dog on the right"
    ids = vocabulary.ids([text, "a dog"], [START, START])
    vocabulary.check()
    assert CoCa().hparams["vocab_size"] == vocabulary.size
    assert vocabulary.texts(ids.tolist()) == [text, "a dog"] and ids.shape == (2, len(text.split()) + 2)
    padding = [TOKENS.pad] * (ids.shape[1] - 4)
    assert ids[1].tolist() == [vocabulary.id_of(START), *ids[1, 1:3].tolist(), TOKENS.end, *padding]
    cut = vocabulary.ids([text], [START], 7)
    assert cut[0, -1] == TOKENS.end and cut.shape == (1, 7)
    learnt = learn_pieces(["a small dog", "a large dog"] * 9, [START], 40, "bpe")
    assert learnt.decode(learnt.encode("a large dog").ids) == "a large dog" and learnt.token_to_id(START) == 3
    with pytest.raises(UserError, match=r"model.vocabulary is nowhere.json; make that file with"):
        small(vocabulary="nowhere.json").tokenize(["a"])


def test_properties_hold() -> None:
    assert properties.gradients(0) < 1e-10
    assert all(0 < share < 0.05 for share in properties.overhead(0).values())


def test_bad_arguments() -> None:
    for arguments, message in (
        ({"contrast": -1.0}, r"model.contrast is -1.0; it must be at least 0"),
        ({"caption": 0.0}, r"model.caption is 0.0; it must be above 0, or the model `Unimodal`"),
        ({"text_length": 2}, r"model.text_length is 2; it must be at least 3"),
        ({"queries": 0}, r"queries is 0; it must be at least 1"),
        ({"heads": 3}, r"heads is 3; it must divide the width, which is 16"),
        ({"stem": 8, "patch_size": 6}, r"patch_size is 6; with a stem it must be a multiple of 4 pixels"),
    ):
        with pytest.raises(UserError, match=message):
            small(**arguments)
