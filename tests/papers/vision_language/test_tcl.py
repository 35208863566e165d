"""TCL's six terms against plain loops, its parts, what has a gradient, and several processes."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from common.batches import ImageText
from common.distributed import rank, world_size
from common.errors import UserError
from papers.vision_language.albef.module import ALBEF
from papers.vision_language.tcl import properties
from papers.vision_language.tcl.module import TCL, TERMS
from papers.vision_language.tcl.parts import parts_of_whole, pooled
from tests.processes import on_processes

RED = "a small red circle"
TEXTS = [RED, "a large dog and a small blue star", "a large dog", RED, "a green heart"]
IDS = torch.tensor([7, 1, 3, 7, 5])
QUEUED = torch.tensor([50, 1, 51])
SMALL = dict(image_size=24, channels=4, image_encoder="small_convnet", text_encoder="words", embed_dim=8)


def batch(rows: slice = slice(None)) -> ImageText:
    views = torch.rand(2, 5, 3, 24, 24, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    return ImageText(views[:, rows], [TEXTS[rows]], torch.tensor([30, 4, 11, 8, 2])[rows], IDS[rows])


def module(cls: type[ALBEF] = TCL, **arguments) -> ALBEF:
    torch.manual_seed(0)
    made = cls(**SMALL | dict(dropout=0.0, queue_size=7, losses=["itc"]) | arguments).double()
    # Apart from its teacher, as after some steps, and with a queue.
    with torch.no_grad():
        for parameter in made.student.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        for queue in (made.image_queue, made.text_queue):
            # Not by `enqueue`, which on several processes has the keys of each of them.
            stored = queue.state_dict()
            stored["_keys"][:3], stored["_ids"][:3] = F.normalize(torch.randn(3, 8).double(), dim=-1), QUEUED
            queue.load_state_dict(stored | {"_written": torch.tensor(3)})
    return made.eval()


def step(method: ALBEF, given: ImageText, share: float = 0.4) -> Tensor:
    method.share = lambda: share
    method.log_loss = lambda loss, **terms: loss
    return method.training_step(given, 0)


@torch.no_grad()
def loops(method: ALBEF, given: ImageText, share: float, positives: Tensor) -> dict[str, float]:
    """Each term by itself, of a module before the step."""
    tokens = method.student.fusion.tokenize(given.text)
    online, taught = method.student(given.views[0], tokens), method.teacher(given.views[1], tokens)
    ids, t = torch.cat([IDS, QUEUED]), 0.07
    keys = [torch.cat([s.vector, q.keys]) for s, q in zip(taught, (method.image_queue, method.text_queue), strict=True)]
    found = {}
    for name, query, key, alpha, wanted in (
        ("to_text", 0, 1, share, IDS),
        ("to_image", 1, 0, share, IDS),
        ("image", 0, 0, 0.0, positives),
        ("text", 1, 1, 0.0, positives),
    ):
        total = 0.0
        for i in range(5):
            right = (ids == wanted[i]).double()
            said = (keys[key] @ taught[query].vector[i] / t).softmax(0)
            target = (1 - alpha) * right / right.sum() + alpha * said
            total -= (target @ (keys[key] @ online[query].vector[i] / t).log_softmax(0)).item() / 5
        found[name] = total
    body = method.teacher.body
    for name, k, project in (("image_parts", 0, body.image_projection), ("text_parts", 1, body.text_projection)):
        parts = [F.normalize(project(states[1:]), dim=-1) for states in taught[k].states]
        parts = [p[: int(m[1:].sum())] for p, m in zip(parts, taught[k].mask, strict=True)]
        total = 0.0
        for i in range(5):
            scores = [[math.exp(float(p @ online[k].vector[i]) / t) for p in own] for own in parts]
            others = sum(sum(row) for j, row in enumerate(scores) if IDS[j] != IDS[i])
            total -= sum(math.log(s / (s + others)) for s in scores[i]) / len(scores[i]) / 5
        found[name] = total
    return found


@pytest.mark.parametrize("share", [0.0, 0.4])
@pytest.mark.parametrize("positives", ["own", "next"])
def test_the_loss_is_the_mean_of_six(share: float, positives: str) -> None:
    method = module(positives=positives)
    expected = loops(method, batch(), share, IDS if positives == "own" else IDS.roll(-1))
    assert step(method, batch(), share).item() == pytest.approx(sum(expected.values()) / 6, rel=1e-6)
    assert method.text_queue.ids.tolist() == [5, 1, 51, 7, 1, 3, 7], "the queues move once"


@pytest.mark.parametrize("within", [["text"], ["image_parts", "image"]])
def test_terms_that_are_left_out_do_not_count(within: list[str]) -> None:
    method = module(within=within, weight=0.5)
    given = loops(method, batch(), 0.4, IDS)
    across = given["to_text"] + given["to_image"]
    expected = (across + 0.5 * sum(given[name] for name in within)) / (2 + 0.5 * len(within))
    assert step(method, batch()).item() == pytest.approx(expected, rel=1e-6)


def test_without_further_terms_it_is_albef() -> None:
    torch.testing.assert_close(step(module(within=[]), batch()), step(module(ALBEF), batch()), rtol=0, atol=0)


def test_matching_and_masked_words_are_albefs() -> None:
    logged = {}
    for cls in (TCL, ALBEF):
        method = module(cls, losses=["itc", "itm", "mlm"])
        method.share = lambda: 0.4
        method.log_loss = lambda loss, **terms: terms | {"loss": loss}
        method._trainer = SimpleNamespace(global_step=3)
        method.key = lambda *names: (3, 4)
        logged[cls] = method.training_step(batch(), 0)
    for term in ("itm", "mlm"):
        torch.testing.assert_close(logged[TCL][term], logged[ALBEF][term], rtol=0, atol=0)
    torch.testing.assert_close(logged[TCL]["loss"], sum(logged[TCL][term] for term in ("itc", "itm", "mlm")))
    assert not torch.equal(logged[TCL]["itc"], logged[ALBEF]["itc"])


def given_parts(count: int = 4, size: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(count)
    whole = F.normalize(torch.randn(count, 5, generator=draw).double(), dim=-1)
    parts = F.normalize(torch.randn(count, size, 5, generator=draw).double(), dim=-1)
    return whole, parts, torch.ones(count, size, dtype=torch.bool)


def known(count: int, ids: Tensor | None = None, **changes) -> dict:
    ids = torch.arange(count) if ids is None else ids
    return dict(ids=ids, part_ids=ids, own=slice(0, count), temperature=torch.tensor(0.2).double()) | changes


def test_the_gradient_of_the_parts_contrast_is_exact() -> None:
    whole, parts, there = given_parts()
    there[1, 2] = there[3, 0] = False
    ids = torch.tensor([3, 9, 3, 4])
    leaves = whole.requires_grad_(), parts.requires_grad_(), torch.tensor(0.2).double().requires_grad_()

    def loss(whole: Tensor, parts: Tensor, temperature: Tensor) -> Tensor:
        return parts_of_whole(whole, parts, there, **known(4, ids, temperature=temperature))

    assert torch.autograd.gradcheck(loss, leaves)


@pytest.mark.parametrize("ids", [torch.zeros(3, dtype=torch.int64), torch.zeros(1, dtype=torch.int64)])
def test_without_others_there_is_nothing_to_tell_apart(ids: Tensor) -> None:
    whole, parts, there = given_parts(len(ids))
    loss = parts_of_whole(whole.requires_grad_(), parts, there, **known(len(ids), ids))
    (slope,) = torch.autograd.grad(loss.sum(), whole)
    assert not loss.any() and not slope.any()


def test_windows_are_means_of_neighbours() -> None:
    patches = torch.arange(16.0)[None, :, None].expand(2, 16, 3)
    assert pooled(patches, 2)[1, :, 2].tolist() == [2.5, 4.5, 10.5, 12.5]
    assert torch.equal(pooled(patches, 4), patches)
    with pytest.raises(UserError, match=r"model\.regions is 3; it must divide the side of the 16 patches"):
        pooled(patches, 3)
    with pytest.raises(UserError, match=r"the 15 patches"):
        pooled(patches[:, :15], 3)


def test_parts_have_no_gradient_and_all_that_aligns_has() -> None:
    method = module()
    step(method, batch()).backward()
    moved = {name for name, p in method.named_parameters() if p.grad is not None and bool(p.grad.any())}
    wanted = ("student.image.", "student.fusion.text.", "student.image_proj", "student.text_proj", "temperature")
    assert moved == {name for name, _ in method.named_parameters() if name.startswith(wanted)}


def test_two_uneven_processes_are_one() -> None:
    """The texts of one of them are longer than those of the other."""

    def shares() -> tuple[Tensor, Tensor]:
        cut = [0, 5] if world_size() == 1 else [0, 2, 5]
        method, rows = module(), slice(cut[rank()], cut[rank() + 1])
        loss = step(method, batch(rows))
        (slope,) = torch.autograd.grad(loss, method.student.text_projection.weight)
        return loss.detach(), slope

    value, gradient = shares()
    found = on_processes(2, shares)
    for loss, _ in found:
        torch.testing.assert_close(loss, value, rtol=1e-12, atol=0)
    mean = sum(slope for _, slope in found) / 2  # as DDP takes it
    torch.testing.assert_close(mean, gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("seed", [0, 7])
def test_the_properties_hold(seed: int) -> None:
    assert properties.blind(seed) < 1e-12
    assert max(properties.apart(seed).values()) < 1e-12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"within": ["patches"]}, r"model\.within is \['patches'\]; it must hold some of image, text, "),
        ({"within": ["image", "image"]}, "each once"),
        ({"losses": ["mlm"], "negatives": "uniform"}, r"without itc in model\.losses"),
        ({"positives": "none"}, r"model\.positives is 'none'"),
        ({"weight": 0.0}, r"model\.weight 0\.0"),
        ({"regions": 0}, r"model\.regions 0"),
    ],
)
def test_what_is_out_of_range_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        TCL(**SMALL | arguments)
    assert set(TERMS) == {"image", "text", "image_parts", "text_parts"}


def test_parts_that_do_not_fit_are_refused() -> None:
    whole, parts, there = given_parts()
    with pytest.raises(UserError, match=r"whole, parts and there are \(4, 5\), \(4, 3, 5\) and \(4, 2\)"):
        parts_of_whole(whole, parts, there[:, :2], **known(4))
