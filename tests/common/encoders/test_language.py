"""The small language model: causal, deaf to padding wherever it stands, and right in what it says of a text."""

import math

import pytest
import torch

from common.encoders.language import LanguageModel
from common.errors import UserError

PAD = 0
IDS = torch.tensor([[3, 4, 5, 1, 3, 6, 7, 1], [3, 8, 1, 3, 9, 1, 0, 0]])


def small() -> LanguageModel:
    torch.manual_seed(0)
    model = LanguageModel(11, PAD, 10, 16, 2, 3).double()
    torch.nn.init.normal_(model.positions.weight)
    return model


def test_a_later_token_never_changes_earlier_states() -> None:
    model = small()
    before = model(IDS)
    assert len(before) == 4 and all(states.shape == (2, 8, 16) for states in before)
    for place in range(1, 8):
        ids = IDS.clone()
        ids[0, place] = 10
        for one, other in zip(model(ids), before, strict=True):
            torch.testing.assert_close(one[0, :place], other[0, :place], rtol=0, atol=1e-12)
            assert not torch.allclose(one[0, place], other[0, place])


@pytest.mark.parametrize("training", [True, False])  # torch has another path for evaluation
def test_padding_in_the_middle_changes_nothing(training: bool) -> None:
    model = small().train(training)
    row = IDS[:1]
    spread = torch.cat([row[:, :4], torch.zeros(1, 2, dtype=torch.int64), row[:, 4:]], dim=1)
    with torch.no_grad():
        whole, apart = model(row)[-1], model(spread)[-1]
        alone = model(IDS[1:, :6])[-1]
        torch.testing.assert_close(torch.cat([apart[:, :4], apart[:, 6:]], dim=1), whole, rtol=0, atol=1e-12)
        torch.testing.assert_close(model(IDS)[-1][1:, :6], alone, rtol=0, atol=1e-12)


def test_the_likelihood_is_that_of_the_next_token() -> None:
    model = small()
    states = model(IDS)[-1]
    found, logits = model.log_likelihood(states, IDS), model.logits(states)
    assert found.shape == (2, 7)
    for row in range(2):
        for place in range(7):
            scores = logits[row, place].tolist()
            total = math.log(sum(map(math.exp, scores)))
            assert float(found[row, place]) == pytest.approx(scores[int(IDS[row, place + 1])] - total)


def test_what_stands_between_layers_is_asked_in_order() -> None:
    model, asked = small(), []

    def before(number: int, states: torch.Tensor) -> torch.Tensor:
        asked.append(number)
        return states + 1.0 if number == 2 else states

    plain, changed = model(IDS), model(IDS, before)
    assert asked == [0, 1, 2]
    assert all(torch.equal(*pair) for pair in zip(plain[:3], changed[:3], strict=True))
    assert torch.equal(changed[3], model.layers[2](plain[2] + 1.0, *masks())) and not torch.equal(changed[3], plain[3])


def masks() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.ones(8, 8, dtype=torch.bool).triu(1), IDS == PAD


def test_heads_divide_the_width() -> None:
    with pytest.raises(UserError, match=r"heads is 3; it must divide the width, which is 16"):
        LanguageModel(11, PAD, 10, 16, 3, 1)
