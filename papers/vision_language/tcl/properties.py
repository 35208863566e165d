"""What the terms of TCL see and what they do not, in float64."""

import torch
from torch import Tensor
from torch.nn import functional as F

from common.encoders.fusion import Encoded
from papers.vision_language.tcl.module import TCL, Term
from papers.vision_language.tcl.parts import parts_of_whole

PAIRS, WIDTH = 6, 12


def alignment(within: tuple[Term, ...], image: Tensor, seen: Tensor, text: Tensor, share: float = 0.4) -> Tensor:
    """The loss of unit vectors (n, WIDTH): of pictures by the student and by the teacher, and of texts by both."""
    small = dict(image_encoder="small_convnet", channels=4, image_size=16, text_encoder="words", regions=2)
    module = TCL(**small, embed_dim=WIDTH, queue_size=PAIRS, losses=("itc",), within=within).double()
    ids, nothing = torch.arange(len(image)), torch.zeros(len(image), 1, 1, dtype=torch.int64)
    online, taught = ([Encoded(nothing, nothing[:, 0], x) for x in both] for both in ((image, text), (seen, text)))
    return module.itc(online, taught, [seen, text], ids, ids, share)


def drawn(seed: int, *shape: int) -> Tensor:
    """Unit vectors along the last dimension."""
    draw = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=draw, dtype=torch.float64), dim=-1)


def blind(seed: int) -> float:
    """How much the contrast across modalities changes as each picture is turned away from its other view.

    What of a picture's vector lies outside all texts' is turned around, for the student alone: no cosine with a text
    changes, but that of the two views does.

    Raises:
        ArithmeticError: the term within pictures does not grow, so the check means nothing.
    """
    image, text = drawn(seed, 2, PAIRS, WIDTH)
    spanned = image @ torch.linalg.pinv(text) @ text
    away = 2 * spanned - image
    across, within = ([alignment(terms, x, image, text).detach() for x in (image, away)] for terms in ((), ("image",)))
    if float(within[1] - within[0]) < 1e-3:
        raise ArithmeticError("the contrast within pictures does not see it either")
    return float((across[1] - across[0]).abs())


def apart(seed: int) -> dict[str, float]:
    """How far parts that are left out move the local contrast: the other parts of a whole, and all parts of one alone.

    Raises:
        ArithmeticError: another sample's part does not move it, so the check means nothing.
    """
    whole, parts = drawn(seed, PAIRS, WIDTH), drawn(seed + 1_000_000, PAIRS, 4, WIDTH)
    there, ids = torch.ones(PAIRS, 4, dtype=torch.bool), torch.arange(PAIRS)

    def local(parts: Tensor, count: int = PAIRS) -> Tensor:
        known = dict(ids=ids[:count], part_ids=ids[:count], own=slice(0, count), temperature=0.07)
        return parts_of_whole(whole[:count], parts[:count], there[:count], **known)

    def each(changed: Tensor) -> Tensor:
        """What the first whole's other three parts pay."""
        before, after = (4 * local(x)[0] - cost(x) for x in (parts, changed))
        return (after - before).abs()

    def cost(x: Tensor) -> Tensor:
        """What the first part of the first whole pays, by itself."""
        others = (whole[0] @ x[1:].flatten(0, 1).T / 0.07).logsumexp(0)
        return torch.logaddexp(others, own := whole[0] @ x[0, 0] / 0.07) - own

    changed, other = parts.clone(), parts.clone()
    changed[0, 0], other[1, 0] = whole[0], whole[0]
    if float(each(other)) < 1e-3:
        raise ArithmeticError("nobody's parts are compared with the whole")
    return {"its other parts": float(each(changed)), "alone": float(local(parts, 1).abs().max())}
