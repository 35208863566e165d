"""The grid world and its demonstrations: experts succeed, missions differ, prompts show them."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.errors import UserError
from data.benchmarks.demonstrations import FRAMES, STEPS, TEST, TRAIN, Demonstrations, _worlds
from data.grid_world import ACTIONS, MISSIONS, PICK, STAY, World, draw_world, render, text_of


@pytest.fixture(scope="module")
def demonstrations() -> Demonstrations:
    benchmark = Demonstrations()
    benchmark.setup()
    return benchmark


def test_every_mission_is_done_by_its_expert() -> None:
    for mission in range(len(MISSIONS)):
        for layout in range(3):
            world = draw_world(mission, 9, layout)
            assert len(world.objects) == 3 and len(set(world.objects.values())) == 3
            for _ in range(STEPS):
                world.step(world.expert())
            assert world.succeeded(), text_of(mission)


def test_rules_of_the_world() -> None:
    world = World(MISSIONS.index((1, 0)), (3, 3), {(3, 4): 0, (0, 0): 5}, (3, 4))
    assert text_of(world.mission) == "pick up the red ball"
    world.step(3)  # an object is in the way
    assert world.agent == (3, 3)
    world.step(0)
    assert world.agent == (2, 3)
    world.step(PICK)  # nothing beside it
    assert not world.succeeded() and len(world.objects) == 2
    world.step(1)
    world.step(PICK)
    assert world.succeeded() and world.objects == {(0, 0): 5}
    for _ in range(9):
        world.step(2)  # the edge
    assert world.agent == (3, 0)
    world.step(STAY)
    assert world.agent == (3, 0)


def test_pictures() -> None:
    world = World(0, (1, 2), {(3, 4): 0}, (3, 4))
    robot, human = (render(torch.from_numpy(world.grid()), look) for look in ("robot", "human"))
    assert robot.shape == (3, 56, 56) and robot.dtype == torch.uint8
    assert robot[:, 24:32, 32:40].flatten(1).unique(dim=1).shape[1] == 2  # the ball on the floor
    assert (robot != human).any(dim=0).float().mean() > 0.9
    moved = render(torch.from_numpy(World(0, (1, 3), {(3, 4): 0}, (3, 4)).grid()), "robot")
    changed = (moved != robot).any(dim=0)
    assert not changed[:, :16].any() and not changed[16:].any() and changed[8:16, 16:32].any()


def test_layouts_of_different_splits_differ(demonstrations: Demonstrations) -> None:
    assert demonstrations.sizes() == {"train": 1440, "val": 72, "test": 144}
    first = {bytes(world[0].numpy()) for world in demonstrations.data["worlds"]}
    scored = [bytes(torch.from_numpy(world.grid()).numpy()) for split in ("val", "test") for world in _worlds(split)]
    assert len(first) > 1430 and first.isdisjoint(scored)
    assert demonstrations.prompts("test", "human").shape == (TEST * len(MISSIONS), FRAMES, 7, 7)


class Still(nn.Module):
    def act(self, prompt: Tensor, frames: Tensor) -> Tensor:
        assert prompt.shape[1:] == (FRAMES, 3, 56, 56) and frames.shape[1:] == (2, 3, 56, 56)
        return F.one_hot(torch.full((len(prompt),), STAY), ACTIONS).float()

    def embed_video(self, frames: Tensor) -> Tensor:
        return torch.ones(len(frames), 2)


def test_protocol(demonstrations: Demonstrations) -> None:
    def expert(prompt: Tensor, frames: Tensor, worlds: list[World]) -> Tensor:
        return F.one_hot(torch.tensor([world.expert() for world in worlds]), ACTIONS)

    found = demonstrations._metrics(expert, "test")
    assert found == {"success/human_prompt": 1.0, "success/robot_prompt": 1.0}
    still = demonstrations.evaluate(Still())
    # Who stands still is done if the mission is to go where it stands.
    assert still["success/human_prompt"] < 0.1 and still["human_to_robot/recall@1/gallery144"] == 0
    floor = demonstrations.floor()
    assert floor["random actions"].keys() == floor["blind expert"].keys() == found.keys()
    assert floor["random actions"][demonstrations.primary] < 0.2
    assert 0.08 < floor["blind expert"][demonstrations.primary] < 0.4


def test_batches(demonstrations: Demonstrations) -> None:
    loader = demonstrations.train_dataloader()
    shown = next(iter(loader))
    batch = demonstrations.on_after_batch_transfer(shown, 0)
    assert batch.prompt.shape == (64, FRAMES, 3, 56, 56) and batch.frames.shape == (64, STEPS, 3, 56, 56)
    assert batch.text == [text_of(mission) for mission in batch.missions.tolist()]
    assert batch.missions.equal(batch.ids // TRAIN)
    assert 0.25 < float(shown.is_human.float().mean()) < 0.75
    # Nobody is shown the very episode that is to be imitated.
    assert (shown.prompt[:, 0] != shown.worlds[:, 0]).flatten(1).any(dim=1).all()
    loader.order.set_epoch(1)
    assert not next(iter(loader)).ids.equal(shown.ids)
    alone = Demonstrations(human_videos=0)
    assert not next(iter(alone.train_dataloader())).is_human.any()


def test_the_data_is_pinned(demonstrations: Demonstrations) -> None:
    assert demonstrations.fingerprint()[:8] == "0f2a74e8"
    other = Demonstrations(seed=2, batch_size=8)
    other.setup()
    assert other.fingerprint() == demonstrations.fingerprint()


def test_bad_requests_are_named(demonstrations: Demonstrations) -> None:
    with pytest.raises(UserError, match=r"data\.human_videos is 100; it must be a multiple of 36 from 0 to 1440"):
        Demonstrations(human_videos=100)
    with pytest.raises(UserError, match="needs a module with act; Linear has none"):
        demonstrations.evaluate(nn.Linear(1, 1))
    with pytest.raises(UserError, match="split is 'train'"):
        demonstrations.evaluate(Still(), "train")
