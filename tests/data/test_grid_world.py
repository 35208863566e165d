"""The grid world of the demonstrations: experts succeed, actions have their rules, looks differ."""

import torch

from data.grid_world import MISSIONS, PICK, STAY, World, draw_world, render, text_of

STEPS = 20


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
