import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from common.encoders.gaussian import Gaussian
from common.encoders.sequence import (
    SequenceDecoder,
    SequenceEncoder,
    Sequences,
    SinusoidalPositions,
    standardized_over_time,
)

MOTIONS = [torch.randn(t, 5, generator=torch.Generator().manual_seed(t)) for t in (9, 4, 6)]


def encoder(dropout: float = 0.0) -> SequenceEncoder:
    torch.manual_seed(0)
    return SequenceEncoder(channels=5, summaries=2, width=16, layers=2, heads=4, feedforward=32, dropout=dropout)


def decoder() -> SequenceDecoder:
    torch.manual_seed(0)
    return SequenceDecoder(channels=5, width=16, layers=2, heads=4, feedforward=32, dropout=0.0)


def test_padding() -> None:
    padded = Sequences.padded(MOTIONS)
    assert padded.values.shape == (3, 9, 5) and padded.real.sum(1).tolist() == [9, 4, 6]
    assert torch.equal(padded.values[1, :4], MOTIONS[1]) and not padded.values[1, 4:].any()
    assert torch.equal(Sequences.of_lengths(padded.values, torch.tensor([9, 4, 6])).real, padded.real)


def test_each_channel_is_standardized_over_time() -> None:
    x = 3 + 2 * torch.randn(2, 50, 4, dtype=torch.float64)
    found = standardized_over_time(x)
    want = (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True, correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(found, want)
    assert standardized_over_time(x.bfloat16()).dtype == torch.float32


def test_positions_are_those_of_the_formula() -> None:
    added = SinusoidalPositions(8, 0.0)(torch.zeros(1, 11, 8))[0]
    for position in (0, 3, 10):
        for k in range(4):
            angle = torch.tensor(position / 10_000 ** (2 * k / 8))
            torch.testing.assert_close(added[position, 2 * k], angle.sin(), atol=1e-5, rtol=0)
            torch.testing.assert_close(added[position, 2 * k + 1], angle.cos(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("training", [True, False])
def test_neighbours_in_the_batch_and_padding_do_not_change_a_summary(training: bool) -> None:
    network = encoder().train(training)
    together = network(Sequences.padded(MOTIONS))
    assert together.shape == (3, 2, 16)
    for summary, motion in zip(together, MOTIONS, strict=True):
        torch.testing.assert_close(summary, network(Sequences.padded([motion]))[0], atol=1e-5, rtol=1e-4)
    # What stands at padding is never read.
    values, real = Sequences.padded(MOTIONS)
    torch.testing.assert_close(network(Sequences(values.masked_fill(~real[..., None], 1e3), real)), together)


def test_the_order_of_frames_matters() -> None:
    network = encoder().eval()
    forwards, backwards = network(Sequences.padded([MOTIONS[0]])), network(Sequences.padded([MOTIONS[0].flip(0)]))
    assert not torch.allclose(forwards, backwards, atol=1e-3)


def test_the_two_summaries_have_tokens_of_their_own() -> None:
    network = encoder()
    summaries = network(Sequences.padded(MOTIONS))
    summaries[:, 1].square().sum().backward()
    assert network.tokens.grad is not None and bool(network.tokens.grad[1].any())
    assert not torch.allclose(summaries[:, 0], summaries[:, 1])


def test_decoded_frames_depend_on_the_vector_and_end_with_the_motion() -> None:
    network = decoder()
    vectors, real = torch.randn(3, 16), Sequences.padded(MOTIONS).real
    frames = network(vectors, real)
    assert frames.shape == (3, 9, 5) and not frames[~real].any() and frames[real].all()
    torch.testing.assert_close(frames[1, :4], network(vectors[1:2], real[1:2, :4])[0], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(network(vectors + 1, real), frames)
    assert not torch.allclose(frames[0, 0], frames[0, 1]), "each frame asks from its own position"


def test_a_vector_is_learnt_to_unfold_into_its_sequence() -> None:
    network, target = decoder(), Sequences.padded(MOTIONS)
    vectors = nn.Parameter(torch.randn(3, 16))
    optimizer = torch.optim.Adam([vectors, *network.parameters()], lr=0.01)
    losses = []
    for _ in range(60):
        loss = (network(vectors, target.real) - target.values).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


def test_divergence_is_that_of_torch() -> None:
    one, other = (Gaussian(torch.randn(4, 6), torch.randn(4, 6)) for _ in range(2))
    p, q = (Normal(g.mean, (g.log_variance / 2).exp()) for g in (one, other))
    torch.testing.assert_close(one.divergence(other), kl_divergence(p, q).mean(1))
    torch.testing.assert_close(one.divergence(one), torch.zeros(4))
    standard = Gaussian.standard(one)
    assert not standard.mean.any() and not standard.log_variance.any()


def test_samples_have_the_mean_and_the_variance() -> None:
    gaussian = Gaussian(torch.tensor([[1.0, -2.0]]).expand(20_000, 2), torch.tensor([[0.0, 2.0]]).expand(20_000, 2))
    draws = gaussian.sample(torch.randn(20_000, 2, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(draws.mean(0), torch.tensor([1.0, -2.0]), atol=0.1, rtol=0)
    torch.testing.assert_close(draws.var(0).log(), torch.tensor([0.0, 2.0]), atol=0.05, rtol=0)
