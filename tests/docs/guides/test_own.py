"""The code of the guides on an encoder and a loss of one's own, run as it stands there."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

GUIDES = Path(__file__).parents[3] / "docs/guides"


def python(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (GUIDES / page).read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def loss() -> dict:
    names: dict = {}
    for block in python("own-loss.md"):
        exec(block, names)
    return names


def test_the_loss_is_its_formula(loss: dict) -> None:
    torch.manual_seed(0)
    query, key = (F.normalize(torch.randn(5, 3, dtype=torch.float64), dim=1) for _ in range(2))
    weight = torch.rand(5, dtype=torch.float64)
    logits = query @ key.T / 0.1
    expected = (weight * (logits.logsumexp(1) - logits.diagonal())).mean()
    assert float(loss["weighted_info_nce"](query, key, weight=weight)) == pytest.approx(float(expected), rel=1e-12)


def test_the_method_trains(loss: dict) -> None:
    torch.manual_seed(0)
    method = loss["MyMethod"](width=4)
    method.log_loss = lambda value, **_: value
    value = method.training_step(SimpleNamespace(views=torch.randint(256, (2, 4, 1, 28, 28), dtype=torch.uint8)), 0)
    value.backward()
    assert value > 0
    weights = method.network.encoder.parameters()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in weights)


def test_the_tower_stands_in_a_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from papers.classification.supcon.module import SupCon

    (tmp_path / "my_towers.py").write_text(python("own-encoder.md")[0], encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    method = SupCon(encoder="my_towers.Tower", channels=3)
    assert method.embed_image(torch.randint(256, (2, 3, 16, 16), dtype=torch.uint8)).shape == (2, 64)
