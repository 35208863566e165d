"""COSMOS: both terms against plain loops, the teacher, which views are in which term, several processes, refusals."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import ImageText
from common.errors import UserError
from papers.vision_language.clip.module import CLIP
from papers.vision_language.cosmos import properties
from papers.vision_language.cosmos.module import COSMOS
from tests.processes import on_processes

TEXTS = ["a small dog, a large owl", "a large red circle", "a small white ring, a fox", "a large tent", "a small fox"]


def module(**arguments) -> COSMOS:
    torch.manual_seed(0)
    made = COSMOS(**properties.SMALL | {"heads": 2} | arguments).double()
    made.log_loss = lambda loss, **terms: loss  # without a trainer there is no log
    with torch.no_grad():
        for name, buffer in made.named_buffers():
            if name.startswith("teacher."):
                buffer.add_(0.1 * torch.randn(buffer.shape, generator=torch.Generator().manual_seed(1)))
    return made


def batch(own: slice = slice(None), views: int = 2, local: int = 2, texts: int = 4) -> ImageText:
    draw, ids = torch.Generator().manual_seed(1), torch.arange(5)[own]
    pixels = torch.rand(views, 5, 3, 24, 24, generator=draw, dtype=torch.double)[:, own]
    small = torch.rand(2, 5, 3, 12, 12, generator=draw, dtype=torch.double)[:local, own]
    said = [[" ".join(text.split()[view:]) for text in TEXTS[own]] for view in range(texts)]
    return ImageText(pixels, [TEXTS[own]], ids, ids, local=small if local else None, text_views=said)


def nce(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    logits, own = F.normalize(a, dim=1) @ F.normalize(b, dim=1).T / temperature, torch.arange(len(a))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def looked(look: nn.Module, vector: Tensor, states: Tensor) -> Tensor:
    """One sample's vector and what attention of two heads finds among its states, (t, d), by hand."""
    width, total = len(vector), torch.zeros_like(vector)
    keys = look.state_norm(look.map(states))
    three = zip(look.attention.in_proj_weight.chunk(3), look.attention.in_proj_bias.chunk(3), strict=True)
    q, k, v = (x @ w.T + b for x, (w, b) in zip((look.query_norm(vector), keys, keys), three, strict=True))
    for head in range(2):
        part = slice(head * width // 2, (head + 1) * width // 2)
        weights = (k[:, part] @ q[part] / (width // 2) ** 0.5).softmax(0)
        total = total + look.attention.out_proj.weight[:, part] @ (weights @ v[:, part])
    return vector + total + look.attention.out_proj.bias


@pytest.mark.parametrize("distillation", ["cross", "plain", "none"])
def test_the_objective_is_that_of_loops(distillation: str) -> None:
    method = module(distillation=distillation, weight=0.7, temperature=0.2, distill_temperature=0.3)
    given, encoder = batch(), method.encoder
    images = [encoder.projection(encoder.image(view)) for view in (*given.views, *given.local)]
    texts = [encoder.text(view) for view in given.text_views]
    expected = sum(nce(a, b, 0.2) for a in images[:2] for b in texts) / 8
    if distillation != "none":
        teacher = method.teacher.body
        taught = [teacher.images(view) for view in given.views], [teacher.texts(view) for view in given.text_views[:2]]
        if distillation == "cross":
            maps = encoder.image.map(given.views[0]).flatten(2).transpose(1, 2)
            words = [encoder.text.with_states([text]).states[0] for text in given.text_views[0]]
            images, texts = (
                [torch.stack([looked(look, x, s) for x, s in zip(view, states, strict=True)]) for view in views]
                for look, views, states in ((method.look_at_text, images, words), (method.look_at_image, texts, maps))
            )
        terms = [sum(nce(s, t, 0.3) for s in side for t in to) / 8 for side in (images, texts) for to in taught]
        expected = expected + 0.7 * sum(terms) / 4
    found = method.training_step(given, 0)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    weights = [p for p in encoder.parameters() if p.requires_grad]
    slopes = [torch.autograd.grad(loss, weights, retain_graph=True) for loss in (found, expected)]
    torch.testing.assert_close(*slopes, rtol=1e-5, atol=1e-7)


def test_one_view_without_distillation_is_clip() -> None:
    given, method = batch(views=1, local=0, texts=0), module(distillation="none")
    clip = CLIP(**properties.SMALL).double()
    clip.load_state_dict(method.state_dict())
    expected = clip.contrast(clip.encoder.images(given.pixels), clip.encoder.texts(given.text))
    torch.testing.assert_close(method.training_step(given, 0), expected)


def test_what_fills_up_a_caption_is_not_looked_at() -> None:
    method = module()
    alone, beside = (method.encoder.read_texts(texts) for texts in (TEXTS[1:2], TEXTS[:2]))
    assert beside.padding.tolist()[1] == [False] * 4 + [True] * 3 and not alone.padding.any()
    query = torch.randn(2, 3, 8, dtype=torch.double)
    found = method.look_at_text.attend(query, method.look_at_text.map(beside.states), beside.padding)[1]
    expected = method.look_at_text.attend(query[1:], method.look_at_text.map(alone.states), alone.padding)[0]
    torch.testing.assert_close(found, expected)


def test_the_teacher_follows_and_is_not_trained() -> None:
    method = module(momentum=0.75)
    assert not any(name.startswith("teacher") for name, _ in method.named_parameters())
    before = method.teacher.body.text.table.weight.clone()
    method.follow()
    expected = 0.75 * before + 0.25 * method.encoder.text.table.weight
    torch.testing.assert_close(method.teacher.body.text.table.weight, expected)
    module(distillation="none").follow()


def test_two_scales_learn_without_decay() -> None:
    scalars = module(scalar_lr=10.0, lr=1e-3).parameter_groups()[-1]
    assert len(scalars["params"]) == 2 and scalars["weight_decay"] == 0.0


def test_several_processes_have_the_loss_of_one() -> None:
    def step(own: slice = slice(None)) -> Tensor:
        return module().training_step(batch(own), 0).detach()

    whole = step()
    for found in on_processes(2, lambda: step(slice(0, 2) if torch.distributed.get_rank() == 0 else slice(2, 5))):
        torch.testing.assert_close(found, whole)


@pytest.mark.parametrize("seed", [0, 3])
def test_the_properties_hold(seed: int) -> None:
    assert properties.small_crops(seed) == 0
    found = properties.one_view(seed) | properties.alike(seed)
    assert max(found.values()) < 1e-9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"distillation": "full"}, "model.distillation is 'full'"),
        ({"momentum": 1.5}, "model.momentum"),
        ({"weight": -1.0}, "model.weight"),
        ({"heads": 3}, "heads is 3; it must divide the width, which is 8"),
        ({"chunk_size": 8}, "model.chunk_size must be null"),
        ({"image_encoder": "small_resnet"}, "model.image_encoder must be one with states"),
        ({"text_encoder": "mini"}, "model.text_encoder must be one with states"),
    ],
)
def test_what_is_out_of_range_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        module(**arguments)


def test_each_global_view_has_a_global_caption() -> None:
    with pytest.raises(UserError, match=r"data\.views is 2, data\.text_views 1"):
        module().training_step(batch(texts=1), 0)
