"""The grid world and its demonstrations: MiniGrid's rules, experts succeed, missions differ, prompts show them."""

import json
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.errors import UserError
from data.benchmarks.worlds.demonstrations import FRAMES, TEST, TRAIN, Demonstrations, _worlds
from data.grid_world import (
    KINDS,
    MISSIONS,
    SHAPES,
    STEPS,
    VERBS,
    Action,
    World,
    draw_world,
    render,
    text_of,
)


@pytest.fixture(scope="module")
def demonstrations() -> Demonstrations:
    benchmark = Demonstrations()
    benchmark.setup()
    return benchmark


def test_every_mission_is_done_by_its_expert() -> None:
    for mission in range(len(MISSIONS)):
        for layout in range(3):
            world = draw_world(mission, 9, layout)
            assert {KINDS[kind][1] for kind in world.objects.values()} == set(SHAPES)
            assert world.front not in world.objects
            while not world.ended:
                world.step(world.expert())
            assert world.succeeded(), text_of(mission)


GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "worlds" / "minigrid.json").read_text())


def _recorded_world(case: dict) -> World:
    *cell, heading = case["agent"]
    objects = {(row, column): KINDS.index((colour, shape)) for row, column, colour, shape in case["objects"]}
    return World(case["mission"], tuple(cell), heading, objects)


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["text"].replace(" ", "_"))
def test_rules_are_those_of_minigrid(case: dict) -> None:
    """The same layout and the same actions, as minigrid itself answered them."""
    world = _recorded_world(case)
    assert text_of(world.mission) == case["text"]
    for action, (row, column, heading, carrying, reward, terminated, truncated) in zip(
        case["actions"], case["steps"], strict=True
    ):
        assert not world.ended
        world.step(action)
        assert (*world.agent, world.heading) == (row, column, heading)
        assert (None if world.carried is None else " ".join(KINDS[world.carried])) == carrying
        assert world.reward == pytest.approx(reward, abs=1e-9) and world.succeeded() == (reward > 0)
        assert world.ended == bool(terminated or truncated)
    assert world.objects == {(row, column): KINDS.index((c, s)) for row, column, c, s in case["left"]}


def test_the_recording_covers_the_rules() -> None:
    steps = [(case["actions"][n], step) for case in GOLDEN["cases"] for n, step in enumerate(case["steps"])]
    assert {action for action, _ in steps} == set(range(len(Action)))
    ends = [(case["mission"] // len(KINDS), case["steps"][-1][4] > 0) for case in GOLDEN["cases"]]
    assert set(ends) == set(product(range(len(VERBS)), (True, False)))
    assert any(truncated and not terminated for _, (*_, terminated, truncated) in steps)
    # A box that was opened is gone for good, and something was carried to another place.
    lost = [len(case["objects"]) - len(case["left"]) - (case["steps"][-1][3] is not None) for case in GOLDEN["cases"]]
    assert max(lost) == 1


def test_pictures() -> None:
    world = World(0, (1, 2), 0, {(3, 4): 0})
    robot, human = (render(torch.from_numpy(world.grid()), look) for look in ("robot", "human"))
    assert robot.shape == (3, 56, 56) and robot.dtype == torch.uint8
    assert robot[:, 24:32, 32:40].flatten(1).unique(dim=1).shape[1] == 2  # the ball on the floor
    assert (robot != human).any(dim=0).float().mean() > 0.9
    world.step(Action.FORWARD)
    changed = (render(torch.from_numpy(world.grid()), "robot") != robot).any(dim=0)
    assert not changed[:, :16].any() and not changed[16:].any() and changed[8:16, 16:32].any()
    # The tip of the figure is where it looks: columns of the tile to the right, rows of it downwards.
    for heading, edge in ((0, (slice(None), -1)), (1, (-1, slice(None))), (2, (slice(None), 0)), (3, (0, slice(None)))):
        tile = render(torch.from_numpy(World(0, (1, 1), heading, {}).grid()), "robot")[0, 8:16, 8:16]
        at_the_tip, at_the_tail = (tile == 90)[edge].sum(), (tile.flip(0, 1) == 90)[edge].sum()
        assert at_the_tip < at_the_tail, heading


def test_layouts_of_different_splits_differ(demonstrations: Demonstrations) -> None:
    assert demonstrations.sizes() == {"train": 1440, "val": 72, "test": 144}
    first = {bytes(world[0].numpy()) for world in demonstrations.data["worlds"]}
    scored = [bytes(torch.from_numpy(world.grid()).numpy()) for split in ("val", "test") for world in _worlds(split)]
    assert len(first) > 1430 and first.isdisjoint(scored)
    assert demonstrations.prompts("test", "human").shape == (TEST * len(MISSIONS), FRAMES, 7, 7)


class Still(nn.Module):
    def act(self, prompt: Tensor, frames: Tensor) -> Tensor:
        assert prompt.shape[1:] == (FRAMES, 3, 56, 56) and frames.shape[1:] == (2, 3, 56, 56)
        return F.one_hot(torch.full((len(prompt),), Action.DONE), len(Action)).float()

    def embed_video(self, frames: Tensor) -> Tensor:
        return torch.ones(len(frames), 2)


def test_protocol(demonstrations: Demonstrations) -> None:
    def expert(prompt: Tensor, frames: Tensor, worlds: list[World]) -> Tensor:
        return F.one_hot(torch.tensor([world.expert() for world in worlds]), len(Action))

    found = demonstrations._metrics(expert, "test")
    assert found == {"success/human_prompt": 1.0, "success/robot_prompt": 1.0}
    still = demonstrations.evaluate(Still())
    # Nothing is done yet where the agent starts.
    assert still["success/human_prompt"] == 0 and still["human_to_robot/recall@1/gallery144"] == 0

    def tourist(prompt: Tensor, frames: Tensor, worlds: list[World]) -> Tensor:
        """Goes to the object and turns away before saying so."""
        actions = [Action.LEFT if world.matched else world.expert() for world in worlds]
        return F.one_hot(torch.tensor(actions), len(Action))

    assert demonstrations._metrics(tourist, "test")[demonstrations.primary] == 0
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
    assert demonstrations.fingerprint()[:8] == "b834e4fa"
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
