import pytest
import torch

from common.training.rng import capture, replay

CPU = torch.device("cpu")


def test_replay_draws_the_same_numbers_and_leaves_the_stream_alone() -> None:
    torch.manual_seed(0)
    expected = [torch.rand(3) for _ in range(3)]
    torch.manual_seed(0)
    state = capture(CPU)
    assert torch.equal(torch.rand(3), expected[0])
    with replay(state):
        assert torch.equal(torch.rand(3), expected[0])
        torch.rand(100)
    assert torch.equal(torch.rand(3), expected[1])
    with replay(state):
        assert torch.equal(torch.rand(3), expected[0])
    assert torch.equal(torch.rand(3), expected[2])


def test_the_stream_is_restored_after_an_error() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    with pytest.raises(ZeroDivisionError), replay(capture(CPU)):
        torch.rand(7)
        raise ZeroDivisionError
    assert torch.equal(torch.rand(3), expected)


def test_the_generator_of_the_device_is_replayed_too(monkeypatch) -> None:
    class Device:
        """Stands in for torch.cuda: a generator that is not the CPU's."""

        generator = torch.Generator().manual_seed(1)

        def get_rng_state(self):
            return self.generator.get_state()

        def set_rng_state(self, state):
            self.generator.set_state(state)

    device = Device()
    monkeypatch.setattr(torch, "get_device_module", lambda _: device)
    state = capture(torch.device("cuda"))
    first = torch.rand(3, generator=device.generator)
    second_state = device.get_rng_state()
    with replay(state):
        assert torch.equal(torch.rand(3, generator=device.generator), first)
    assert torch.equal(device.get_rng_state(), second_state)
