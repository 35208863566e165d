"""CosMo: gates that start closed, a half that sees nothing, the one way from contrast to captions."""

import torch
from torch import Tensor

from papers.vision_language.cosmo.module import CosMo

SMALL = dict(width=16, heads=2, latents=2, head_width=4, embed_dim=8, pictures=2, text_length=8, remember=False)
SIZES, COLOURS, THINGS = ("small", "large"), ("red", "blue", "green"), ("circle", "star", "ring", "heart")


def made(seed: int, **arguments) -> CosMo:
    """A model whose language model is frozen already, in float64."""
    torch.manual_seed(seed)
    return CosMo(language_steps=0, **SMALL | arguments).double().train()


def batch(seed: int, method: CosMo, count: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    """Random pictures with random captions: pixels, ids of tokens, ids of samples."""
    draw = torch.Generator().manual_seed(seed)
    rows = torch.randint(12, (count, 3), generator=draw).tolist()
    texts = [f"a {SIZES[i % 2]} {COLOURS[j % 3]} {THINGS[k % 4]}" for i, j, k in rows]
    pixels = torch.rand(count, 3, 24, 24, generator=draw, dtype=torch.float64)
    return pixels, method.tokenize(texts), torch.arange(count)


def opened(method: CosMo) -> CosMo:
    """With all gates half open."""
    for gate in method.gates.values():
        for number in (gate.look_gate, gate.feed_gate):
            torch.nn.init.constant_(number, 0.5)
    return method


def closed(seed: int) -> float:
    """How far the logits at the start, with pictures, are from those of the language model, the largest difference.

    Raises:
        ArithmeticError: they do not move when the gates open.
    """
    method = made(seed)
    pixels, ids, _ = batch(seed, method)
    with torch.no_grad():
        seen = method.resampler(method.picture(pixels))[:, None, 1:]
        alone = method.language.logits(method.read(ids, None)[-1])
        found = method.language.logits(method.read(ids, seen)[-1])
        if torch.equal(method.language.logits(opened(method).read(ids, seen)[-1]), alone):
            raise ArithmeticError("the logits do not move when the gates open")
    return float((found - alone).abs().max())


def unseeing(seed: int) -> float:
    """How much of other pictures reaches what the contrast reads of the captions, the largest difference.

    Raises:
        ArithmeticError: other pictures change no logit either.
    """
    method = opened(made(seed))
    pixels, ids, _ = batch(seed, method)
    with torch.no_grad():
        vectors = method.resampler(method.picture(pixels))[:, None, 1:]
        one, other = method.read(ids, vectors), method.read(ids, vectors.flip(0))
        if torch.equal(one[-1], other[-1]):
            raise ArithmeticError("other pictures change no state")
        return float((method.text_vectors(one, ids) - method.text_vectors(other, ids)).abs().max())


def cut(seed: int) -> float:
    """How far some steps with a contrast that stops before the resampler lead from steps without, the largest weight.

    Raises:
        ArithmeticError: a contrast that does reach it changes nothing either.
    """
    without, stopped, whole = (
        after(made(seed, lr=0.01, **arguments), seed, 4)
        for arguments in ({"contrast": 0.0}, {"cut": True}, {"cut": False})
    )
    if torch.equal(whole, without):
        raise ArithmeticError("the contrast changes nothing")
    return float((stopped - without).abs().max())


def after(method: CosMo, seed: int, steps: int) -> Tensor:
    """All weights of resampler and gates after some steps of AdamW."""
    optimizer = torch.optim.AdamW(method.parameter_groups(), lr=method.lr)
    for step in range(steps):
        terms = method.terms(*batch(100 * seed + step, method))
        optimizer.zero_grad()
        (terms["language"] + method.contrast * terms.get("contrast", 0.0)).backward()
        optimizer.step()
    parts = (method.resampler, method.gates)
    return torch.cat([p.detach().flatten() for part in parts for p in part.parameters()])
