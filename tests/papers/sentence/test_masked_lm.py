import csv
import json
from pathlib import Path

import lightning as L
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import nn
from transformers import BertForMaskedLM

from common.batches import Sentences
from common.encoders import pretrained
from common.encoders.pretrained import Architecture, PretrainedFiles
from common.encoders.text import TextEncoder
from common.errors import UserError
from common.sampling.masking import IGNORED
from common.training.log_table import write_log
from papers.sentence.masked_lm.mini_bert import export
from papers.sentence.masked_lm.module import MaskedLM
from papers.sentence.masked_lm.narrow import cut_vocabulary, lower_layers, narrow, principal_axes

LETTERS = "abcdefgh"
WORDS = [a + b for a in LETTERS for b in LETTERS]
TEXTS = [" ".join(WORDS[(start * k) % 64] for k in range(1, 12)) for start in range(1, 40)]
STUDENT = Architecture(16, 2, 2, 32, 64 + 5 + 16, 24)
TEACHER = Architecture(32, 3, 4, 64, 64 + 5 + 16 + 3, 24)


def wordpiece(extra: list[str]) -> str:
    """A tokenizer of two-letter words, of single letters to spell others with, and of `extra` pieces."""
    pieces = ["[PAD]", *extra, "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{c}" for c in LETTERS), *WORDS]
    ids = {piece: at for at, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    special = [(token, ids[token]) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=special)
    return tokenizer.to_str()


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Student and teacher by the real names, but tiny, random, and with tokenizers of their own."""
    monkeypatch.setitem(pretrained.ARCHITECTURES, "mini-bert", STUDENT)
    monkeypatch.setitem(pretrained.ARCHITECTURES, "minilm", TEACHER)
    extra = {"mini-bert": [], "minilm": ["zz", "yy", "xx"]}

    def weights(self: PretrainedFiles) -> dict[str, torch.Tensor]:
        torch.manual_seed(5)
        body = TextEncoder(**pretrained.ARCHITECTURES[self.name]._asdict(), max_length=8).body
        return {key: tensor * (10 if tensor.ndim == 2 else 1) for key, tensor in body.state_dict().items()}

    monkeypatch.setattr(PretrainedFiles, "weights", weights)
    monkeypatch.setattr(PretrainedFiles, "tokenizer", lambda self: Tokenizer.from_str(wordpiece(extra[self.name])))


def module(**arguments) -> MaskedLM:
    torch.manual_seed(0)
    found = MaskedLM(max_length=24, **arguments)
    found.log_loss = lambda loss, **terms: loss  # without a trainer there is no log
    return found


def test_hides_as_bert_does() -> None:
    model = module()
    tokens = model.encoder.tokenize(TEXTS * 40)
    torch.manual_seed(0)
    seen, targets = model.hide(tokens)
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


def test_learns_to_fill_blanks() -> None:
    model = module(dropout=0.0)
    # Every word stands there four times, so a hidden one can be copied from its context.
    texts = [" ".join([LETTERS[k % 8] + LETTERS[k // 8]] * 4) for k in range(64)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    before = model.masked_accuracy(texts)
    for _ in range(80):
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


def test_the_teacher_reads_the_students_vocabulary() -> None:
    student = TextEncoder.named("mini-bert", max_length=24)
    teacher = lower_layers("minilm", student)
    assert teacher.layers == 2 and teacher.body.embeddings.word_embeddings.num_embeddings == STUDENT.vocab_size
    whole = TextEncoder.named("minilm", layers=2, max_length=24).eval()
    ours = teacher.hidden_states(student.tokenize(TEXTS))[-1]
    torch.testing.assert_close(ours, whole.hidden_states(whole.tokenize(TEXTS))[-1])


def test_narrowing_to_the_same_width_changes_little_and_beats_a_random_start() -> None:
    model = module(teacher="minilm", teacher_steps=1, dropout=0.0)
    tokens = model.encoder.tokenize(TEXTS)
    model.encoder.eval()
    random = model.distance(model.encoder.hidden_states(tokens), tokens).item()
    narrow(model.teacher, model.encoder, model.lifts, TEXTS)
    assert model.distance(model.encoder.hidden_states(tokens), tokens).item() < 0.8 * random
    # With every dimension, head and unit kept and gains of 1, the cut is a turn of the axes, but for the mean that a
    # norm subtracts along one of them.
    student = TextEncoder(**TEACHER._replace(layers=2, vocab_size=STUDENT.vocab_size)._asdict(), max_length=24)
    student._tokenizer = model.encoder.tokenizer
    lifts = nn.ModuleList(nn.Linear(32, 32) for _ in range(3))
    narrow(model.teacher, student.eval(), lifts, TEXTS)
    for lift, state, wanted in zip(
        lifts, student.hidden_states(tokens), model.teacher.hidden_states(tokens), strict=True
    ):
        assert ((lift(state) - wanted).square().mean() / wanted.square().mean()) < 0.25


def test_principal_axes_span_the_largest_directions() -> None:
    torch.manual_seed(0)
    states = torch.randn(500, 6) * torch.tensor([5.0, 0.1, 4.0, 0.1, 3.0, 0.1])
    axes = principal_axes(states, 3)
    torch.testing.assert_close(axes.T @ axes, torch.eye(3))
    torch.testing.assert_close(axes @ axes.T, torch.diag(torch.tensor([1.0, 0, 1, 0, 1, 0])), atol=0.02, rtol=0)


def test_the_vocabulary_is_cut_to_the_commonest_pieces() -> None:
    # 21 pieces always stay: 5 special tokens, and 8 letters at the start and inside of words.
    text = "ab ab ab cd cd ef"
    cut = Tokenizer.from_str(cut_vocabulary(wordpiece(["zz"]), [text], 5 + 16 + 2))
    assert cut.encode(text).tokens == ["[CLS]", "ab", "ab", "ab", "cd", "cd", "e", "##f", "[SEP]"]
    ids = cut.get_vocab()
    assert sorted(ids.values()) == list(range(23)) and ids["[PAD]"] == 0
    encoded = cut.encode("ab")
    assert encoded.ids == [ids["[CLS]"], ids["ab"], ids["[SEP]"]]
    with pytest.raises(UserError, match="size is 25; it must be from 21 to 24"):
        cut_vocabulary(wordpiece(["zz"]), [text], 25)


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
