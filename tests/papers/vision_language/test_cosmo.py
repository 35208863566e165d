"""CosMo: the authors' forward pass, the objective in loops, what learns when, what is read and contrasted."""

import json
import math
import zlib
from pathlib import Path

import lightning as L
import pytest
import torch
from torch import Tensor, nn

from common.batches import ImageText
from common.encoders.language import LanguageModel
from common.encoders.resampler import GatedCrossAttention, Resampler
from common.encoders.vocabulary import TOKENS
from common.errors import UserError
from common.losses import LearnableTemperature
from common.protocols import Captions
from data.benchmarks.worlds.small_scenes import SmallScenes
from data.scenes.pieces import START
from papers.vision_language.cosmo import properties
from papers.vision_language.cosmo.module import CosMo

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "encoders" / "cosmo.json").read_text())


def weight(name: str, shape: torch.Size) -> Tensor:
    """Anybody can make these: normal numbers that begin at the name's checksum, around 1 where a norm scales."""
    draw = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    numbers = torch.randn(shape, generator=draw, dtype=torch.float64)
    if name.endswith("weight") and len(shape) == 1:
        return 1 + 0.3 * numbers
    if len(shape) < 2 or name.endswith(("latents", "table.weight", "positions.weight")):
        return 0.7 * numbers
    return 1.5 * numbers / shape[1] ** 0.5


def as_recorded(case: dict) -> CosMo:
    """With parts, sizes and weights of the recorded model, an OPT of 13 tokens and width 16 and patches of width 8."""
    method = CosMo(released=True, language_steps=0, interval=case["interval"])
    method.picture = nn.Identity()
    method.language = LanguageModel(13, TOKENS.pad, 12, 16, 2, 4)
    method.resampler = Resampler(8, 65, 6, 8, 64)
    gates = {number: GatedCrossAttention(16, 8, 8, 64, case["compress"]) for number in method.gates}
    method.gates = nn.ModuleDict(gates)
    method.heads["reader"] = Resampler(16, 1, 1, 8, 64, bias=False)
    method.heads["text"], method.heads["image"] = nn.Linear(16, 6, bias=False), nn.Linear(8, 6, bias=False)
    method.heads["temperature"] = LearnableTemperature(math.exp(-0.2))
    with torch.no_grad():
        for name, parameter in method.double().named_parameters():
            if not name.endswith("log_temperature"):
                parameter.copy_(weight(name, parameter.shape))
    return method


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=["every layer", "every other, compressed"])
def test_losses_and_gradients_are_those_of_the_authors(case: dict) -> None:
    method, ids = as_recorded(case), torch.tensor(GOLDEN["ids"])
    patches = (1.7 * torch.arange(6 * 5 * 8, dtype=torch.float64)).cos().reshape(6, 5, 8)
    vectors = method.resampler(patches).unflatten(0, (3, 2))
    states = method.read(ids, vectors[:, :, 1:])
    language, contrast = method.unsaid(states, ids), method.apart(vectors, states, ids, torch.arange(6).view(3, 2))
    logits = method.language.logits(states[-1])[0, [0, 4, 9], :4]
    torch.testing.assert_close(logits, torch.tensor(case["logits"], dtype=torch.float64), rtol=1e-8, atol=1e-8)
    assert float(language.detach()) == pytest.approx(case["language"], rel=1e-6)
    assert float(contrast.detach()) == pytest.approx(case["contrast"], rel=1e-6)
    (language + contrast).backward()
    parameters = dict(method.named_parameters())
    for name, norm in case["gradients"].items():
        gradient, sign = parameters[name].grad, -1 if name.endswith("log_temperature") else 1
        assert float(gradient.norm()) == pytest.approx(norm, rel=1e-5), name
        expected = torch.tensor(case["first"][name], dtype=torch.float64)
        torch.testing.assert_close(sign * gradient.flatten()[:3].double(), expected, rtol=1e-4, atol=1e-7)
    padded = torch.tensor(GOLDEN["padded"])
    unsaid = method.unsaid(method.read(padded, vectors[:, :, 1:]), padded)
    assert float(unsaid.detach()) == pytest.approx(case["padded"], rel=1e-6)


def terms(method: CosMo, seed: int = 0, **arguments) -> dict[str, Tensor]:
    method.key = lambda purpose: (seed, 0, 0)
    return method.terms(*properties.batch(seed, method), **arguments)


def test_the_objective_is_that_of_loops() -> None:
    """Blocks of two pairs and a document of two; a half of each kind's loss."""
    method = properties.opened(properties.made(0, temperature=0.2))
    pixels, ids, _ = properties.batch(0, method)
    vectors, start = method.resampler(method.picture(pixels)), method.vocabulary.id_of(START)
    costs: dict[str, list[float]] = {"pairs": [], "documents": []}

    def cost(kind: str, rows: list[int]) -> None:
        text = torch.cat([ids[row][ids[row] != TOKENS.pad] for row in rows])[None]
        chances = method.language.logits(method.read(text, vectors[None, rows, 1:])[-1])[0].detach().log_softmax(-1)
        for place in range(1, text.shape[1]):
            if text[0, place] != start:
                costs[kind].append(-float(chances[place - 1, text[0, place]]))

    pairs = [0, 1, 4, 5]
    for row in pairs:
        cost("pairs", [row])
    for rows in ([2, 3], [6, 7]):
        cost("documents", rows)
    language = sum(sum(values) / len(values) for values in costs.values()) / 2
    image = method.image_vectors(vectors[pairs, 0])
    text = method.text_vectors(method.read(ids[pairs], None), ids[pairs])
    contrast = 0.0
    for one, other in ((image, text), (text, image)):
        for i in range(4):
            scores = [math.exp(float(one[i] @ other[j]) / 0.2) for j in range(4)]
            contrast -= math.log(scores[i] / sum(scores)) / 8
    found = {name: float(term.detach()) for name, term in terms(method).items()}
    assert found == pytest.approx({"language": language, "contrast": contrast / 2}, rel=1e-6)


def test_without_documents_all_are_pairs_and_documents_contrast_where_asked() -> None:
    method = properties.made(0, pictures=0, text_length=16)
    pixels, ids, samples = properties.batch(0, method)
    vectors = method.resampler(method.picture(pixels))[:, None]
    states = method.read(ids, vectors[:, :, 1:])
    found = terms(method)
    torch.testing.assert_close(found["contrast"], method.apart(vectors, states, ids, samples[:, None]))
    torch.testing.assert_close(found["language"], method.unsaid(states, ids))
    alone, both = terms(properties.made(0)), terms(properties.made(0, contrasted="documents"))
    assert torch.equal(alone["language"], both["language"]) and both["contrast"] > alone["contrast"]
    shuffled = terms(properties.made(0, contrasted="shuffled"))
    assert torch.equal(alone["language"], shuffled["language"]) and shuffled["contrast"] != alone["contrast"]


def test_the_released_query_reads_padding_and_a_layer_early() -> None:
    for released in (False, True):
        method = properties.made(0, released=released)
        ids = method.tokenize(["a small red star"])
        wide = torch.cat([ids, torch.zeros_like(ids)], dim=1)
        texts = [method.text_vectors(method.read(x, None), x) for x in (ids, wide)]
        assert torch.allclose(*texts) != released
        before = method.text_vectors(method.read(ids, None), ids)
        nn.init.zeros_(method.language.layers[1].linear1.weight)  # the last of the lower half
        assert torch.equal(before, method.text_vectors(method.read(ids, None), ids)) == released


@pytest.mark.parametrize("contrast", [1.0, 0.0])
def test_first_the_language_model_learns_and_then_the_rest(contrast: float, fetched) -> None:
    fetched(*SmallScenes.sources)
    scenes = SmallScenes(train_size=24, batch_size=12, brightness=0.0, contrast=0.0)
    method = CosMo(width=16, heads=2, head_width=4, language_steps=2, contrast=contrast, lr=0.01)
    watched = Watched(method)
    quiet = dict(logger=False, enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False)
    trainer = L.Trainer(max_steps=4, accelerator="cpu", limit_val_batches=0, callbacks=[watched], **quiet)
    trainer.fit(method, scenes)
    rest = {"resampler", "gates"} | ({"heads"} if contrast else set())
    # Behind a closed gate nothing but the gate has a gradient of the captions.
    assert watched.moved == [{"language"}, {"language"}, rest if contrast else {"gates"}, rest]
    assert not method.picture.encoder.training and isinstance(method, Captions)
    pixels = scenes.train.pixels[:3]
    assert len(method.captions(pixels)) == 3
    found = method.caption_log_likelihood(pixels, scenes.train.texts[0][:3])
    one = method.caption_log_likelihood(pixels[:1], scenes.train.texts[0][:1])
    assert found.shape == (3,) and float(found[0].detach()) == pytest.approx(float(one.detach()), rel=1e-4)


class Watched(L.Callback):
    """Which parts each step moves."""

    def __init__(self, method: CosMo) -> None:
        self.moved: list[set[str]] = []
        self.before = self.copied(method)

    def copied(self, method: L.LightningModule) -> dict[str, Tensor]:
        return {name: p.detach().clone() for name, p in method.named_parameters()}

    def on_train_batch_end(self, trainer: L.Trainer, method: L.LightningModule, *_: object) -> None:
        now = self.copied(method)
        self.moved.append({name.split(".")[0] for name in now if not torch.equal(now[name], self.before[name])})
        self.before = now


def test_the_rate_begins_anew() -> None:
    method = CosMo(language_steps=10, language_lr=0.004, lr=0.001, warmup=0.2, schedule="linear")
    factor = method.rate_factor(30)
    assert [factor(step) for step in (0, 1, 10, 13)] == pytest.approx([2.0, 4.0, 0.25, 1.0])
    groups = CosMo(language_steps=10, lr=0.001, scalar_lr=10.0).parameter_groups()
    assert groups[-1]["lr"] == pytest.approx(0.01) and len(groups[-1]["params"]) == 5
    assert all(p.ndim for group in groups[:-1] for p in group["params"])


def test_properties_hold() -> None:
    for check in (properties.closed, properties.unseeing, properties.cut):
        assert check(0) == 0.0


def test_bad_arguments() -> None:
    for arguments, message in (
        ({"contrast": -1.0}, r"model.contrast -1.0: expected a finite number at least 0"),
        ({"unimodal_layers": 4}, r"model.unimodal_layers 4: expected a finite number at least 1 and at most 3"),
        ({"contrasted": "all"}, r"model.contrasted is 'all'; it must be one of pairs, documents, shuffled"),
        ({"interval": 0}, r"model.interval 0: expected a finite number at least 1"),
        ({"text_length": 2}, r"model.text_length 2: expected a finite number at least 3"),
    ):
        with pytest.raises(UserError, match=message):
            CosMo(**arguments)
    given = ImageText(torch.rand(1, 4, 3, 24, 24), [["a ring"] * 4], torch.arange(4), torch.arange(4))
    with pytest.raises(UserError, match=r"data.batch_size is 4 a process; model.pictures asks for a multiple of 6"):
        CosMo().training_step(given, 0)
