"""Cutting a small encoder out of a larger one: its vocabulary, its layers, its width."""

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor, nn

from common.encoders import pretrained
from common.encoders.narrow import cut_vocabulary, lower_layers, narrow, principal_axes
from common.encoders.pretrained import Architecture, PretrainedFiles
from common.encoders.text import TextEncoder
from common.errors import UserError

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


def test_the_teacher_reads_the_students_vocabulary() -> None:
    student = TextEncoder.named("mini-bert", max_length=24)
    teacher = lower_layers("minilm", student)
    assert teacher.layers == 2 and teacher.body.embeddings.word_embeddings.num_embeddings == STUDENT.vocab_size
    whole = TextEncoder.named("minilm", layers=2, max_length=24).eval()
    ours = teacher.hidden_states(student.tokenize(TEXTS))[-1]
    torch.testing.assert_close(ours, whole.hidden_states(whole.tokenize(TEXTS))[-1])


def test_narrowing_to_the_same_width_changes_little_and_beats_a_random_start() -> None:
    torch.manual_seed(0)
    student = TextEncoder.named("mini-bert", max_length=24, dropout=0.0).eval()
    teacher, lifts = lower_layers("minilm", student), nn.ModuleList(nn.Linear(16, 32) for _ in range(3))
    tokens = student.tokenize(TEXTS)

    def errors(student: TextEncoder, lifts: nn.ModuleList) -> list[Tensor]:
        pairs = zip(lifts, student.hidden_states(tokens), teacher.hidden_states(tokens), strict=True)
        return [(lift(state) - wanted).square().mean() / wanted.square().mean() for lift, state, wanted in pairs]

    random = sum(errors(student, lifts))
    narrow(teacher, student, lifts, TEXTS)
    assert sum(errors(student, lifts)) < 0.8 * random
    # With every dimension, head and unit kept and gains of 1, the cut is a turn of the axes, but for the mean that a
    # norm subtracts along one of them.
    wide = TextEncoder(**TEACHER._replace(layers=2, vocab_size=STUDENT.vocab_size)._asdict(), max_length=24)
    wide._tokenizer = student.tokenizer
    lifts = nn.ModuleList(nn.Linear(32, 32) for _ in range(3))
    narrow(teacher, wide.eval(), lifts, TEXTS)
    assert max(errors(wide, lifts)) < 0.25


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
