import torch

from common.losses import distilled, same_id, soft_target_cross_entropy
from common.losses.examples import generator, unit
from common.scores import Scores
from common.tiled.tiles import tiling

IDS, KEY_IDS = torch.tensor([3, 1, 1, 0]), torch.tensor([1, 0, 3, 1, 2, 0, 1])


def whole(matrix) -> torch.Tensor:
    return matrix.tile(slice(0, len(IDS)), slice(0, len(KEY_IDS)))


def test_known_targets_are_uniform_over_the_keys_of_the_id() -> None:
    draw = generator(0)
    targets = whole(same_id(Scores(unit(draw, 4), unit(draw, 7)), IDS, KEY_IDS))
    expected = [[float(key == row) / KEY_IDS.tolist().count(row) for key in KEY_IDS.tolist()] for row in IDS.tolist()]
    assert targets.tolist() == expected


def test_distilled_targets_mix_the_teachers_softmax_with_the_known_ones() -> None:
    draw = generator(1)
    scores = Scores(unit(draw, 4), unit(draw, 7), scale=5.0)
    teacher = Scores(unit(draw, 4), unit(draw, 7), scale=5.0)
    known = same_id(scores, IDS, KEY_IDS)
    expected = 0.3 * teacher.matrix().softmax(dim=1) + 0.7 * whole(known)
    torch.testing.assert_close(whole(distilled(teacher, known, 0.3)), expected)


def test_a_tensor_of_targets_is_taken_as_it_is() -> None:
    draw = generator(2)
    query, key = unit(draw, 4), unit(draw, 7)
    targets = torch.rand(4, 7, generator=draw, dtype=torch.float64)
    expected = torch.nn.functional.cross_entropy(query @ key.T, targets)
    for tiles in ((3, 2, 0), (512, 512, 10**6)):
        with tiling(*tiles):
            torch.testing.assert_close(soft_target_cross_entropy(Scores(query, key), targets), expected)
