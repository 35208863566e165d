"""SLIP: the structural loss of each reading against plain loops, its processes, what it refuses."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from common.batches import ImageText
from common.errors import UserError
from papers.vision_language.slip_structural.module import linked_with
from papers.vision_language.slip_structural.properties import PAIRS, READINGS, built, edgeless, order, pairs
from tests.processes import on_processes


def loop(query: list[list[float]], key: list[list[float]], linked: list[list[bool]], temperature: float) -> float:
    """-(1/b) sum over nodes i of the mean over their neighbours j of log softmax over all k but i."""
    total = 0.0
    for i, row in enumerate(query):
        scores = {j: sum(a * b for a, b in zip(row, other, strict=True)) / temperature for j, other in enumerate(key)}
        del scores[i]
        candidates = math.log(sum(map(math.exp, scores.values())))
        near = [j for j, there in enumerate(linked[i]) if there]
        total += sum(candidates - scores[j] for j in near) / max(1, len(near)) / len(query)
    return total


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("temperature", [0.1, 0.02])
def test_the_structural_loss_is_that_of_a_loop(reading: str, temperature: float) -> None:
    module = built(0, structure_temperature=temperature, **READINGS[reading])
    image, text, ids, neighbours = (x.detach() for x in pairs(0))
    neighbours[3:5] = -1
    linked = (neighbours[:, :, None] == ids).any(dim=1)
    assert torch.equal(linked, linked_with(neighbours, ids))

    def rows(x: Tensor) -> list[list[float]]:
        return F.normalize(x, dim=1).tolist()

    if reading == "modalities":
        sides = [rows(x + layer(x, linked)) for x, layer in zip((image, text), module.layers, strict=True)]
        expected = sum(loop(a, b, linked.tolist(), temperature) for a, b in (sides, sides[::-1])) / 2
    else:
        (layer,), fused = module.layers, torch.cat([image, text], dim=1)
        node = rows(layer(fused) if reading == "no attention" else layer(fused, linked))
        expected = loop(node, node, linked.tolist(), temperature)
    found = module.draw(image, text, ids, neighbours)
    assert float(found.detach()) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("reading", READINGS)
def test_both_sides_of_a_pair_get_a_gradient(reading: str) -> None:
    image, text, *links = pairs(1)
    slopes = torch.autograd.grad(built(1, **READINGS[reading]).draw(image, text, *links), (image, text))
    assert all(float(slope.norm(dim=1).min()) > 1e-6 for slope in slopes)


@pytest.mark.parametrize("reading", READINGS)
def test_uneven_processes_draw_as_one(reading: str) -> None:
    def drawn(share: slice) -> tuple[Tensor, Tensor]:
        image, text, ids, neighbours = pairs(2)
        loss = built(2, **READINGS[reading]).draw(image[share], text[share], ids[share], neighbours[share])
        return loss.detach(), torch.autograd.grad(loss, image)[0]

    loss, slope = drawn(slice(None))
    found = on_processes(2, lambda: drawn(slice(0, 5) if torch.distributed.get_rank() == 0 else slice(5, PAIRS)))
    for one, _ in found:
        torch.testing.assert_close(one, loss)
    # Each process returns the whole, and their sum is what is differentiated: twice the gradient of one.
    torch.testing.assert_close(sum(part for _, part in found), 2 * slope)


def test_the_step_adds_the_weighted_loss_to_that_of_clip() -> None:
    module, (_, _, ids, neighbours) = built(3, structure=0.3), pairs(3)
    logged: dict[str, Tensor] = {}
    module.log_loss = lambda loss, **terms: logged.update(terms) or loss
    pixels = torch.rand(1, PAIRS, 3, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    batch = ImageText(pixels, [[f"word {k}" for k in range(PAIRS)]], ids, ids, neighbours=neighbours)
    loss = module.training_step(batch, 0)
    image, text = module.encoder.images(batch.pixels), module.encoder.texts(batch.text)
    torch.testing.assert_close(logged["contrast"], module.contrast(image, text))
    torch.testing.assert_close(loss, logged["contrast"] + 0.3 * module.draw(image, text, ids, neighbours))
    with pytest.raises(UserError, match=r"see data\.structure"):
        module.training_step(batch._replace(neighbours=None), 0)


def test_the_properties_hold_and_look_at_the_links() -> None:
    assert max(edgeless(0).values()) == 0.0
    assert max(order(0).values()) < 1e-12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"structure": 0.0}, "model.structure 0.0: expected"),
        ({"structure_temperature": 0.0}, "model.structure_temperature 0.0: expected"),
        ({"reading": "figure"}, "model.reading is 'figure'"),
        ({"reading": "modalities", "attention": False}, "model.attention is false"),
    ],
)
def test_what_is_out_of_range_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        built(0, **arguments)
