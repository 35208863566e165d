"""CLIP rocket: both of its terms against plain loops, what has a gradient, which heads are scored, what is refused."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from common.batches import ImageText
from common.errors import UserError
from papers.vision_language.clip_rocket import properties
from papers.vision_language.clip_rocket.module import CLIPRocket

TEXTS = ["a small dog", "a large red circle", "a small white ring", "a large tent", "a small fox"]


def module(**arguments) -> CLIPRocket:
    torch.manual_seed(0)
    made = CLIPRocket(**properties.SMALL, **arguments).double().train()
    made.log_loss = lambda loss, **terms: loss  # without a trainer there is no log
    return made


def batch(local: int = 2, texts: int = 2) -> ImageText:
    draw, ids = torch.Generator().manual_seed(1), torch.arange(5)
    pixels = torch.rand(1 + local, 5, 3, 24, 24, generator=draw, dtype=torch.double)
    views = [[" ".join(reversed(text.split()[view:])) for text in TEXTS] for view in range(texts)]
    return ImageText(pixels[:1], [TEXTS], ids, ids, local=pixels[1:] if local else None, text_views=views)


def features(method: CLIPRocket, given: ImageText) -> tuple[list[Tensor], list[Tensor]]:
    pixels = [given.pixels, *([] if given.local is None else given.local)]
    images = [method.encoder.image(view) for view in pixels]
    return images, [method.encoder.text.features(texts) for texts in (given.text, *given.text_views)]


def clip_loop(images: Tensor, texts: Tensor, temperature: float, smoothing: float) -> float:
    rows = F.normalize(images, dim=1) @ F.normalize(texts, dim=1).T / temperature
    total = 0.0
    for logits in (rows.tolist(), rows.T.tolist()):
        for i, row in enumerate(logits):
            norm = torch.tensor(row, dtype=torch.double).logsumexp(0).item()
            target = (1 - smoothing) * row[i] + smoothing * sum(row) / len(row)
            total += (norm - target) / (2 * len(row))
    return total


@pytest.mark.parametrize("heads", ["separate", "shared"])
def test_the_objective_is_that_of_loops(heads: str) -> None:
    method, given = module(heads=heads, temperature=0.2, local_temperature=0.3, directions="sum"), batch()
    images, texts = features(method, given)
    image_head, text_head = method.heads or method.linear
    weak = clip_loop(method.linear[0](images[0]), method.linear[1](texts[0]), 0.2, 0.0)
    strong = [
        clip_loop(image_head(image), text_head(text), 0.3 if heads == "separate" else 0.2, 0.1)
        for image in images[1:]
        for text in texts[1:]
    ]
    expected = 2 * (weak + 2 * sum(strong) / 4) / 3
    assert method.training_step(given, 0).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("views", [0, 2])
def test_siamlip_predicts_the_other_side_which_does_not_move(views: int) -> None:
    method, given = module(siamlip=0.5), batch(views, views)
    images, texts = features(method, given)
    total, pairs = torch.zeros(()), [(0, 0)] + [(a, b) for a in range(1, views + 1) for b in range(1, views + 1)]
    for a, b in pairs:
        made = method.projectors[0](images[a]), method.projectors[1](texts[b])
        told = method.predictors[0](made[0]), method.predictors[1](made[1])
        cosines = [F.cosine_similarity(told[side], made[1 - side].detach()).mean() for side in (0, 1)]
        total = total + (2 - 2 * cosines[0]) + (2 - 2 * cosines[1])
    expected = total / (2 * len(pairs))
    both = list(zip(images, texts, strict=True))
    found = method.siamese(both[0], both[1:])
    torch.testing.assert_close(found, expected)
    leaves = [*method.projectors.parameters(), *method.encoder.image.parameters()]
    slopes = (torch.autograd.grad(loss, leaves, retain_graph=True) for loss in (found, expected))
    torch.testing.assert_close(*slopes)
    whole = method.views_contrast(both[0], both[1:]) + 0.5 * found
    torch.testing.assert_close(method.training_step(given, 0), whole)


def test_the_linear_heads_are_scored() -> None:
    method, given = module().eval(), batch()
    texts = F.normalize(method.linear[1](method.encoder.text.features(TEXTS)), dim=1)
    torch.testing.assert_close(method.embed_text(TEXTS), texts)
    images = F.normalize(method.linear[0](method.encoder.image(given.pixels)), dim=1)
    torch.testing.assert_close(method.encoder.images(given.pixels), images)


def test_both_scales_learn_without_decay() -> None:
    scalars = module(scalar_lr=10.0, lr=1e-3).parameter_groups()[-1]
    assert len(scalars["params"]) == 2 and scalars["weight_decay"] == 0.0 and scalars["lr"] == pytest.approx(1e-2)


@pytest.mark.parametrize("name", ["alike", "no_partner"])
def test_the_properties_hold(name: str) -> None:
    assert getattr(properties, name)(3) < 1e-12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"heads": "own"}, "separate or shared"),
        ({"directions": "both"}, "mean or sum"),
        ({"local_smoothing": 1.5}, "model.local_smoothing"),
        ({"siamlip": -1.0}, "model.siamlip"),
        ({"chunk_size": 8}, "model.chunk_size must be null"),
        ({"text_encoder": "mini"}, "model.text_encoder"),
    ],
)
def test_what_is_out_of_range_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        CLIPRocket(**properties.SMALL | arguments)


def test_as_many_strong_views_of_both() -> None:
    with pytest.raises(UserError, match="give 2 strong views of pictures and 1 of captions"):
        module().training_step(batch(2, 1), 0)
