"""Speech encoders: padding has no influence, published sizes, generation, and the teacher that follows."""

import itertools

import pytest
import torch
from torch import Tensor, nn
from transformers import Data2VecAudioConfig, Data2VecAudioModel

from common.encoders.audio import ConvSubsampler, Wav2Vec2, mean_of_real
from common.encoders.momentum import MomentumTeacher, cosine_decay
from common.encoders.sequence import Sequences, means_of_parts
from common.encoders.speech import ConvolutionalPositions, FrameFeatures, SpeechTransformer, WaveformFeatures
from common.encoders.speech_text import SpeechTextTransformer, Tokens
from common.errors import UserError


def sequences(*lengths: int, width: int = 40) -> Sequences:
    generator = torch.Generator().manual_seed(0)
    return Sequences.padded([torch.randn(length, width, generator=generator) for length in lengths])


def test_subsampling_keeps_a_quarter_and_no_trace_of_padding() -> None:
    subsampler = ConvSubsampler(40, 32, 16)
    padded = sequences(9, 4, 1, 23)
    together = subsampler(padded)
    assert together.real.sum(1).tolist() == [3, 1, 1, 6] and together.values.shape == (4, 6, 16)
    for row, length in enumerate((9, 4, 1, 23)):
        alone = subsampler(Sequences.padded([padded.values[row, :length]]))
        torch.testing.assert_close(together.values[row, together.real[row]], alone.values[0])
    assert not together.values[~together.real].any()


def test_the_mean_leaves_padding_out() -> None:
    values = torch.tensor([[[2.0], [4.0], [99.0]], [[5.0], [99.0], [99.0]]])
    assert mean_of_real(Sequences.of_lengths(values, torch.tensor([2, 1]))).tolist() == [[3.0], [5.0]]


def test_the_means_of_parts_by_hand() -> None:
    values = torch.tensor([[1.0, 3.0, 5.0, 6.0, 8.0], [2.0, 4.0, 99.0, 99.0, 99.0]])[:, :, None]
    # Five frames in two parts: three and two. Two frames in three parts: one has none.
    cut = Sequences.of_lengths(values, torch.tensor([5, 2]))
    assert means_of_parts(cut, 2).tolist() == [[3.0, 7.0], [2.0, 4.0]]
    assert means_of_parts(cut, 3)[1].tolist() == [2.0, 4.0, 0.0]
    wide = sequences(9, 4, 23, width=6)
    torch.testing.assert_close(means_of_parts(wide, 1), mean_of_real(wide))


def transformer(layers: int = 2) -> SpeechTextTransformer:
    torch.manual_seed(0)
    return SpeechTextTransformer(nn.Identity(), 40, 7, Tokens(0, 1), 16, layers, 2, 32, 0.0, 32).eval()


def test_speech_and_text_are_the_same_alone_and_in_company() -> None:
    network = transformer()
    speech, ids = sequences(12, 30), torch.tensor([[3, 4, 1, 0, 0], [3, 2, 5, 6, 1]])
    memory = network.encode(network.enter_speech(speech))
    logits = network.decode(memory, ids)
    alone = network.encode(network.enter_speech(Sequences.padded([speech.values[0, :12]])))
    torch.testing.assert_close(logits[0, :3], network.decode(alone, ids[:1, :3])[0], rtol=1e-4, atol=1e-5)
    # A token knows only those before it.
    changed = network.decode(memory, torch.cat([ids[:, :2], ids[:, 2:] * 0 + 2], dim=1))
    torch.testing.assert_close(changed[:, :2], logits[:, :2])


def test_the_cross_entropy_counts_all_that_follows_the_language() -> None:
    network = transformer()
    speech, ids = sequences(12, 30), torch.tensor([[3, 4, 1, 0, 0], [3, 2, 5, 6, 1]])
    memory = network.encode(network.enter_speech(speech))
    expected = 0.0
    for row, chances in zip(ids.tolist(), network.decode(memory, ids[:, :-1]).double().log_softmax(-1), strict=True):
        for place, token in enumerate(row[1:]):
            if token != 0:
                expected -= 0.8 * float(chances[place, token]) + 0.2 * float(chances[place].mean())
    assert float(network.cross_entropy(memory, ids, 0.2)) == pytest.approx(expected, rel=1e-5)


def best_of_all(network: SpeechTextTransformer, memory: Sequences, longest: int) -> list[int]:
    """The text of at most so many tokens whose mean log-probability, end included, is the highest."""
    best, found = -torch.inf, []
    for count in range(longest + 1):
        for text in itertools.product([2, 3, 4, 5, 6], repeat=count):
            said = [*text, 1] if count < longest else list(text)
            ids = torch.tensor([[2, *said]])
            chances = network.decode(memory, ids[:, :-1])[0].log_softmax(-1)
            score = float(chances.gather(1, ids[0, 1:, None]).mean())
            if score > best:
                best, found = score, list(text)
    return found


@torch.no_grad()
def test_a_wide_beam_finds_the_best_text() -> None:
    network = transformer()
    speech = sequences(20, 9, 13)
    memory = network.encode(network.enter_speech(speech))
    wide = network.generate(memory, first=2, longest=3, beam=200)
    for row, length in enumerate((20, 9, 13)):
        alone = network.encode(network.enter_speech(Sequences.padded([speech.values[row, :length]])))
        assert wide[row] == best_of_all(network, alone, 3)
    greedy = network.generate(memory, first=2, longest=3)
    ids = torch.tensor([[2]] * 3)
    for step in range(3):
        following = network.decode(memory, ids)[:, -1]
        following[:, 0] = -torch.inf
        ids = torch.cat([ids, following.argmax(1, keepdim=True)], dim=1)
        for row, text in enumerate(greedy):
            if len(text) > step:
                assert text[step] == ids[row, step + 1]


@pytest.mark.parametrize("depth", [1, 3])
def test_padding_changes_nothing_in_the_self_supervised_encoder(depth: int) -> None:
    torch.manual_seed(0)
    positions, body = ConvolutionalPositions(16, depth, 5, 4), SpeechTransformer(16, 2, 2, 32, 0.0)
    padded = sequences(11, 5, width=16)
    states, added = body(positions(padded.values, padded.real), padded.real)
    short = padded.values[1:, :5]
    alone, added_alone = body(positions(short))
    torch.testing.assert_close(states[1, :5], alone[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(added[1][1, :5], added_alone[1][0], rtol=1e-4, atol=1e-5)


def test_what_a_layer_added_is_what_stands_before_the_residual() -> None:
    body = SpeechTransformer(16, 1, 2, 32, 0.0)
    layer, seen = body.layers[0], []
    layer.fall.register_forward_hook(lambda module, inputs, output: seen.append(output))
    states, (added,) = body(torch.randn(2, 6, 16))
    assert torch.equal(added, seen[0]) and not torch.equal(states, added)


def test_waveforms_give_as_many_features_as_told() -> None:
    features = WaveformFeatures(8)
    for samples in (400, 16_000, 16_319, 16_320):
        assert features(torch.randn(1, samples)).shape[1] == int(features.frames(torch.tensor(samples)))
    assert int(features.frames(torch.tensor(16_000))) == 49
    assert FrameFeatures(8)(torch.randn(2, 5, 40)).shape == (2, 5, 8)


def test_the_published_sizes() -> None:
    def count(*modules: nn.Module) -> int:
        return sum(p.numel() for module in modules for p in module.parameters())

    with torch.device("meta"):
        body = SpeechTransformer(768, 12, 12, 3072)
        ours = count(WaveformFeatures(), nn.LayerNorm(512), nn.Linear(512, 768), ConvolutionalPositions(768), body)
        # And the vector that stands for what is masked.
        assert ours + 768 == count(Data2VecAudioModel(Data2VecAudioConfig()))
        assert count(Wav2Vec2()) == pytest.approx(94.4e6, rel=1e-3)


def test_wav2vec_reads_each_waveform_as_if_alone() -> None:
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    torch.manual_seed(0)
    encoder = Wav2Vec2.__new__(Wav2Vec2)
    nn.Module.__init__(encoder)
    small = dict(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    # Group norm, the published front end, takes its statistics over the whole row, padding included.
    encoder.body = Wav2Vec2Model(Wav2Vec2Config(**small, conv_dim=[16] * 7, num_conv_pos_embedding_groups=4)).eval()
    waves = [torch.randn(3000), torch.randn(1500)]
    states, real = encoder(Sequences.padded(waves))
    assert real.sum(1).tolist() == [9, 4] and states.shape == (2, 9, 32)


class Doubled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.dropout = nn.Dropout(0.9)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.layer(x))


def test_a_teacher_follows_and_is_never_trained() -> None:
    student = Doubled()
    teacher = MomentumTeacher(student).train()
    assert not teacher.training and not teacher.body.dropout.training and not list(teacher.parameters())
    x = torch.ones(3, 2, requires_grad=True)
    assert torch.equal(teacher(x), student.layer(x)) and not teacher(x).requires_grad
    before = student.layer.weight.detach().clone()
    with torch.no_grad():
        student.layer.weight += 1
    teacher.update(student, 0.75)
    torch.testing.assert_close(teacher.body.layer.weight, before + 0.25)
    assert torch.equal(dict(teacher.state_dict())["body.layer.weight"], teacher.body.layer.weight)


def test_a_teacher_normalizes_by_the_statistics_of_its_student() -> None:
    student = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    teacher = MomentumTeacher(student)
    student(5 + 3 * torch.randn(32, 4))
    teacher.update(student, 1.0)
    x = torch.randn(8, 4)
    student.eval()
    assert torch.equal(teacher(x), student(x))  # weights that did not move, statistics that did
    assert int(teacher.body[1].num_batches_tracked) == 1
    with pytest.raises(UserError, match=r"decay 1\.5: expected a finite number at least 0 and at most 1"):
        teacher.update(student, 1.5)


def test_a_teacher_with_statistics_of_its_own_normalizes_by_its_batches() -> None:
    student = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    teacher = MomentumTeacher(student, statistics="own")
    x = 5 + 3 * torch.randn(32, 4)
    assert teacher.training and torch.equal(teacher(x), student(x)) and not teacher(x).requires_grad
    before = [b.clone() for b in (teacher.body[1].running_mean, teacher.body[1].running_var)]
    student(x - 9)
    with torch.no_grad():
        student[0].weight += 1
    teacher.update(student, 0.75)
    assert torch.equal(teacher.body[1].running_mean, before[0]) and torch.equal(teacher.body[1].running_var, before[1])
    torch.testing.assert_close(student[0].weight - teacher.body[0].weight, torch.full((3, 4), 0.75))
    assert not teacher.eval().body.training and not list(teacher.parameters())


def test_a_decay_rises_along_half_a_cosine() -> None:
    assert [cosine_decay(0.9, 1.0, step, 4) for step in (0, 2, 4, 9)] == pytest.approx([0.9, 0.95, 1.0, 1.0])
    assert cosine_decay(0.9, 1.0, 5, float("inf")) == pytest.approx(0.9)
