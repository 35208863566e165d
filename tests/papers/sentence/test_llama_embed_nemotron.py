"""Hard contrast: denominators, stages, mined texts and soups; and properties that a wrong constant breaks."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor
from torch.nn import functional as F

from common.batches import MinedTexts, ParallelTexts, Translations
from common.distributed import rank, world_size
from common.errors import UserError
from common.losses import HardNegatives, info_nce
from papers.sentence.llama_embed_nemotron import properties
from papers.sentence.llama_embed_nemotron.denominators import contrast
from papers.sentence.llama_embed_nemotron.module import HardContrast
from papers.sentence.llama_embed_nemotron.soup import Soup
from tests.processes import assert_shares_agree, on_processes

CORPUS = ParallelTexts(
    tuple([f"{language}{n} word{n} {'abcdefgh'[n % 4]}" for n in range(8)] for language in ("e", "f", "s")),
    torch.tensor([[0, 1], [0, 2], [1, 0], [2, 0]]),
    torch.tensor([11, 12, 15, 16, 20, 22, 23, 29]),
)


class Data:
    """What a module asks of its benchmark."""

    def parallel_texts(self) -> ParallelTexts:
        return CORPUS

    def evaluate(self, module: HardContrast, split: str) -> dict[str, float]:
        assert split == "val"
        return {"recall@1/gallery8": 1.0, "mrr/gallery8": float(module.encoder.table.weight.sum())}


class Trainer:
    """So much of Lightning's as a module asks for outside of a fit."""

    def __init__(self, steps: int) -> None:
        self.estimated_stepping_batches, self.datamodule = steps, Data()


def batch(*pairs: tuple[int, int, int]) -> Translations:
    """Translations of (row of the corpus, source language, target language)."""
    rows, source, target = (list(column) for column in zip(*pairs, strict=True))
    texts = [
        [CORPUS.texts[language][row] for row, language in zip(rows, side, strict=True)] for side in (source, target)
    ]
    return Translations(*texts, torch.tensor(source), torch.tensor(target), CORPUS.ids[rows])


PAIRS = ((0, 0, 1), (3, 2, 0), (5, 0, 2), (6, 1, 0))


class Stepped:
    """A module with a step of its own, in place of a trainer's."""

    def __init__(self, cls: type = HardContrast, steps: int = 10, **arguments: Any) -> None:
        torch.manual_seed(0)

        class Here(cls):
            global_step = 0
            trainer = Trainer(steps)

            def optimizers(self) -> Any:
                return SimpleNamespace(optimizer=self.made)

            def log_loss(self, loss: Tensor, **terms: Tensor) -> Tensor:
                return loss

            def key(self, purpose: str, *, per_process: bool = False) -> tuple[int, ...]:
                return (7, self.global_step)

        self.module = Here(**{"first_steps": 2, "negatives": 2, **arguments})
        self.module.made = torch.optim.Adam(self.module.encoder.parameters(), lr=0.01)
        self.module.corpus = CORPUS

    def step(self, *pairs: tuple[int, int, int]) -> float:
        module = self.module
        loss = module.training_step(batch(*pairs or PAIRS), 0)
        module.made.zero_grad()
        loss.backward()
        module.made.step()
        module.follow()  # before Lightning counts the step
        module.global_step += 1
        return float(loss.detach())


def test_gemini_is_info_nce_with_ones_own_hard_negatives() -> None:
    x = properties.batch(0)
    hard = HardNegatives(x["hard"], "own")
    expected = info_nce(x["query"], x["positive"], temperature=0.1, ignore_ids=x["ids"], hard_negatives=hard)
    torch.testing.assert_close(contrast(**x, temperature=0.1, denominator="gemini"), expected)


@pytest.mark.parametrize("denominator", ["hard", "gemini", "gecko", "qwen3"])
def test_processes_share_the_batch(denominator: str) -> None:
    def shares() -> tuple[Tensor, Tensor]:
        share = slice(6 * rank() // world_size(), 6 * (rank() + 1) // world_size())
        x = {name: value[share] for name, value in properties.batch(1).items()}
        query = x["query"].requires_grad_()
        loss = contrast(**x, temperature=0.1, denominator=denominator)
        return loss.detach(), torch.autograd.grad(loss / world_size(), query)[0]

    value, gradient = shares()
    assert_shares_agree(on_processes(2, shares), value, gradient)


def test_membership_sees_a_wrong_term(monkeypatch: pytest.MonkeyPatch) -> None:
    found = properties.membership(0)
    assert max(found.values()) < 1e-12 and len(found) == 8
    monkeypatch.setattr(properties, "ABOVE", 0.05)
    changed = properties.membership(0)
    assert changed["loss, qwen3"] > 1e-4 and changed["loss, gecko"] < 1e-12
    monkeypatch.setattr(properties, "members", lambda denominator, i, x: [(x["query"][i], y) for y in x["hard"][i]][1:])
    assert min(value for name, value in properties.membership(0).items() if "loss" in name) > 1e-3


def test_rows_alone_and_order(monkeypatch: pytest.MonkeyPatch) -> None:
    assert max(properties.rows_alone(0).values()) < 1e-12 and max(properties.order(0).values()) == 0

    def plain(**given: Any) -> Tensor:
        return contrast(**{**given, "denominator": "gemini"})

    monkeypatch.setattr(properties, "contrast", plain)
    assert properties.rows_alone(0)["loss"] > 0.01
    with pytest.raises(ArithmeticError, match="add nothing"):
        properties.order(0)


def test_rows_that_do_not_count_stay_negatives() -> None:
    x = properties.batch(2)
    where = torch.tensor([True, False, True, True, False, True])
    each = []
    for i in range(6):
        only = torch.zeros(6, dtype=torch.bool)
        only[i] = True
        each.append(contrast(**x, temperature=0.1, denominator="gecko", where=only))
    torch.testing.assert_close(
        contrast(**x, temperature=0.1, denominator="gecko", where=where), torch.stack(each)[where].mean()
    )


def test_the_first_stage_is_info_nce_and_the_second_begins_anew() -> None:
    run = Stepped(temperature=0.5)
    rows = [run.module.embed_text(texts).detach() for texts in (batch(*PAIRS).source, batch(*PAIRS).target)]
    assert run.step() == pytest.approx(float(info_nce(*rows, temperature=0.5, ids=batch(*PAIRS).ids)), rel=1e-4)
    run.step()
    assert not run.module.sampler.mined and run.module.made.state
    rows = [run.module.embed_text(texts).detach() for texts in CORPUS.texts]
    query, positive = rows[0][0], rows[1][0]
    scores = rows[0] @ rows[1].T
    allowed = [j for j in range(1, 8) if scores[0, j] <= 0.95 * scores[0, 0]]
    run.module.mine()
    assert not run.module.made.state, "the optimizer begins anew"
    hardest = sorted(allowed, key=lambda j: -float(scores[0, j]))[:2]
    texts = run.module.negatives(batch(*PAIRS))
    assert len(allowed) >= 2 and texts[0] == [CORPUS.texts[1][j] for j in hardest]
    assert all(text[0] == "esf"[0] for text in texts[1] + texts[3]) and all(text[0] == "s" for text in texts[2])
    hard = run.module.embed_text(texts[0]).detach()
    logits = torch.cat([(query @ positive)[None], hard @ query]) / 0.5
    loss = run.module.contrast(query[None], positive[None], texts[:1], CORPUS.ids[:1])
    assert float(loss.detach()) == pytest.approx(
        float(F.cross_entropy(logits[None], torch.tensor([0]))), rel=1e-4, abs=1e-6
    )


def test_rates_are_steady_and_then_fall_in_a_line() -> None:
    factor = Stepped(tuning_rate=0.5).module.rate_factor(10)
    assert [factor(step) for step in (0, 1, 2, 6, 9)] == pytest.approx([1, 1, 0.5, 0.25, 0.0625])
    soup = Stepped(Soup, members=2, tuning_rate=0.5).module.rate_factor(10)
    assert [soup(step) for step in (1, 2, 5, 6, 9)] == pytest.approx([1, 0.5, 0.125, 0.5, 0.125])


def test_given_negatives_need_no_first_stage() -> None:
    module = Stepped(first_steps=0).module
    texts = MinedTexts(["one", "two"], ["uno", "dos"], [["tres", "seis"], ["nada", "cosa"]], torch.arange(2))
    rows = {name: module.embed_text(list(part)) for name, part in (("q", texts.query), ("d", texts.document))}
    hard = torch.stack([module.embed_text(part) for part in texts.negatives])
    expected = contrast(rows["q"], rows["d"], hard, temperature=0.02, ids=texts.ids)
    torch.testing.assert_close(module.training_step(texts, 0), expected)


def test_members_of_a_soup_begin_at_one_place_and_leave_out_a_language() -> None:
    run = Stepped(Soup, steps=6, members=2)
    module = run.module
    run.step(), run.step()
    start = module.encoder.table.weight.detach().clone()
    assert module.counted(batch(*PAIRS)).tolist() == [False, True, True, False]
    run.step(), run.step()
    first = module.saved[1].table.weight
    assert module.encoder.table.weight.equal(start) and not first.equal(start) and not module.made.state
    assert module.counted(batch(*PAIRS)).tolist() == [True, False, False, True]
    run.step(), run.step()
    second = module.encoder.table.weight.detach().clone()
    assert module.saved[2].table.weight.equal(second) and not second.equal(start)
    module.on_train_end()
    torch.testing.assert_close(module.encoder.table.weight, (first + second) / 2)
    module.kept = "best"
    module.on_train_end()
    best = first if float(first.sum()) > float(second.sum()) else second
    assert module.encoder.table.weight.equal(best)


def test_the_soup_has_the_rate_that_was_tuned_for_one_training() -> None:
    folder = Path(properties.__file__).parent
    rates = [
        yaml.safe_load((folder / f"{name}.yaml").read_text())["model"]["init_args"] for name in ("mini", "mini_soup")
    ]
    assert rates[0]["tuning_rate"] == rates[1]["tuning_rate"] and rates[0]["lr"] == rates[1]["lr"]


@pytest.mark.parametrize(
    ("cls", "arguments", "message"),
    [
        (
            HardContrast,
            {"denominator": "all"},
            "model.denominator is 'all'; it must be one of hard, gemini, gecko, qwen3",
        ),
        (HardContrast, {"mined": "soft"}, "model.mined is 'soft'; it must be 'hard' or 'random'"),
        (HardContrast, {"first_steps": -1}, "model.first_steps -1: expected"),
        (HardContrast, {"tuning_rate": 0.0}, "model.tuning_rate 0.0: expected"),
        (Soup, {"kept": "last"}, "model.kept is 'last'; it must be 'mean' or 'best'"),
        (Soup, {"members": 0}, "model.members 0: expected"),
    ],
)
def test_what_is_out_of_range_is_refused(cls: type, arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        cls(**arguments)
