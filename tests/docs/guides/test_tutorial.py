"""The Python of docs/guides/tutorial.md, run as it stands there, in one namespace."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from harness import cli
from papers.sentence.simcse.module import SimCSE
from tests.papers.trained import save

PAGE = Path(__file__).parents[3] / "docs/guides/tutorial.md"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """What the blocks leave behind, and what each printed."""
    folder = tmp_path_factory.mktemp("tutorial")
    names, printed = {}, []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setitem(names, "print", lambda *words: printed.append(" ".join(map(str, words))))
        save(folder / "simcse.ckpt", SimCSE(pooling="mean", layers=1))
        assert cli.main(["export", "simcse", "--ckpt_path", "simcse.ckpt", "--out", "my-simcse"]) == 0
        for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
            exec(block, names)
    return SimpleNamespace(**names, printed=printed)


def test_texts_have_cosines(run: SimpleNamespace) -> None:
    cosines = (run.vectors @ run.vectors.T).round(2)
    assert run.printed[0] == str(cosines) and cosines.diagonal().tolist() == [1.0, 1.0, 1.0]


def test_an_encoder_is_scored_on_two_benchmarks(run: SimpleNamespace) -> None:
    digits, emoji = run.printed[1:]
    score, _, pixels = (float(number) for number in re.findall(r"0\.\d+", digits))
    assert digits.startswith("mnist5k: probe_linear/top1 ") and "'raw pixels': 0.88" in digits
    assert pixels == pytest.approx(0.883, abs=0.002), "the last digit is the processor's"
    assert 0.5 < score < 1, "edges tell digits apart"
    assert emoji.startswith("emoji_groups: ")


def test_the_loss_is_its_formula(run: SimpleNamespace) -> None:
    torch.manual_seed(0)
    query, key = (F.normalize(torch.randn(5, 3, dtype=torch.float64), dim=1) for _ in range(2))
    logits = query @ key.T / 0.1
    others = logits.masked_fill(torch.eye(5, dtype=torch.bool), -torch.inf).logsumexp(1)
    assert float(run.decoupled(query, key)) == pytest.approx(float((others - logits.diagonal()).mean()), rel=1e-12)


def test_the_method_trains(run: SimpleNamespace) -> None:
    method = run.MyMethod(width=4)
    method.log_loss = lambda value, **_: value
    batch = SimpleNamespace(views=torch.randint(256, (2, 4, 1, 28, 28), dtype=torch.uint8))
    method.training_step(batch, 0).backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in method.network.encoder.parameters())
