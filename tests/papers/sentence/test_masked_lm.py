"""The masked language model that mini-bert comes of: what it hides and learns, its teacher, its files."""

import csv
import json
from pathlib import Path

import lightning as L
import pytest
import torch
from torch import nn
from transformers import BertForMaskedLM

from common.batches import Sentences
from common.sampling.masking import IGNORED, hide_tokens_by_sample
from common.training.log_table import write_log
from papers.sentence.masked_lm.mini_bert import export
from papers.sentence.masked_lm.module import MaskedLM
from tests.common.encoders.test_narrow import LETTERS, TEXTS, tiny

__all__ = ["tiny"]


def module(**arguments) -> MaskedLM:
    torch.manual_seed(0)
    found = MaskedLM(max_length=24, **arguments)
    found.log_loss = lambda loss, **terms: loss  # without a trainer there is no log
    return found


def test_hides_as_bert_does() -> None:
    model = module()
    tokens = model.encoder.tokenize(TEXTS * 40)
    seen, targets = hide_tokens_by_sample(tokens, model.masked, model.encoder, torch.arange(len(tokens.ids)), 0)
    asked = targets != IGNORED
    real = tokens.mask.bool() & ~torch.isin(tokens.ids, model.encoder.special_ids)
    assert not (asked & ~real).any(), "special tokens and padding are never asked for"
    assert asked[real].double().mean() == pytest.approx(0.15, abs=0.01)
    assert (targets[asked] == tokens.ids[asked]).all()
    assert (seen.ids[~asked] == tokens.ids[~asked]).all()
    masked = seen.ids[asked] == model.encoder.mask_id
    kept = seen.ids[asked] == tokens.ids[asked]
    assert masked.double().mean() == pytest.approx(0.8, abs=0.03)
    assert kept.double().mean() == pytest.approx(0.1, abs=0.03)


def test_learns_to_fill_blanks(monkeypatch: pytest.MonkeyPatch) -> None:
    model = module(dropout=0.0)
    # Every word stands there four times, so a hidden one can be copied from its context.
    texts = [" ".join([LETTERS[k % 8] + LETTERS[k // 8]] * 4) for k in range(64)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    before = model.masked_accuracy(texts)
    for step in range(150):
        monkeypatch.setattr(MaskedLM, "global_step", step)  # each step hides other words
        loss = model.training_step(Sentences(texts, torch.arange(len(texts))), 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = model.masked_accuracy(texts)
    assert before < 0.1 and after > 0.5
    assert model.masked_accuracy(texts) == after, "the masks must be the same at each call"
    assert model.training


def test_the_teacher_fades_and_is_never_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    model = module(teacher="minilm", teacher_steps=10, teacher_weight=2.0)
    shares = []
    for step in (0, 5, 10, 20):
        monkeypatch.setattr(MaskedLM, "global_step", step)
        shares.append(model.teacher_share())
    assert shares == [2.0, 1.0, 0.0, 0.0]
    monkeypatch.setattr(model.teacher, "hidden_states", lambda tokens: pytest.fail("the teacher ran at weight 0"))
    model.training_step(Sentences(TEXTS, torch.arange(len(TEXTS))), 0)
    assert not any(p.requires_grad for p in model.teacher.parameters())


def test_the_distance_is_zero_for_a_student_that_is_its_teacher() -> None:
    model = module(teacher="minilm", teacher_steps=1, dropout=0.0)
    tokens = model.encoder.tokenize(TEXTS)
    assert model.distance(model.encoder.hidden_states(tokens), tokens) > 0.1
    for lift in model.lifts:
        nn.init.eye_(lift.weight)
        nn.init.zeros_(lift.bias)
    wanted = model.teacher.hidden_states(tokens)
    model.lifts = nn.ModuleList(nn.Identity() for _ in wanted)
    assert model.distance(wanted, tokens) == 0


def test_the_exported_files_are_a_masked_language_model_of_transformers(tmp_path: Path) -> None:
    model = module(teacher="minilm", teacher_steps=5)
    trainer = L.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", enable_progress_bar=False)
    trainer.strategy.connect(model)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    export(tmp_path / "last.ckpt", tmp_path)
    loaded = BertForMaskedLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    model.eval()
    tokens = model.encoder.tokenize(TEXTS)
    ours = model.head(model.encoder.hidden_states(tokens)[-1], model.table)
    theirs = loaded(input_ids=tokens.ids, attention_mask=tokens.mask).logits
    torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=1e-2)  # half precision on the disk
    assert json.loads((tmp_path / "config.json").read_text())["num_hidden_layers"] == 2


def test_the_log_joins_a_run_and_its_resumption(tmp_path: Path) -> None:
    for version, rows in enumerate(["0,9,1.5,,2\n0,19,1.25,,2\n0,19,,0.5,\n", "0,19,1.125,,1\n0,29,1.0,,1\n"]):
        (tmp_path / f"version_{version}").mkdir()
        (tmp_path / f"version_{version}" / "metrics.csv").write_text("epoch,step,train/loss,val/x,y\n" + rows)
    write_log(tmp_path, tmp_path / "log.csv")
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["step"], row["train/loss"], row["val/x"], row["y"]) for row in rows] == [
        ("9", "1.5000", "", "2.0000"),
        ("19", "1.1250", "0.5000", "1.0000"),
        ("29", "1.0000", "", ""),
    ]
