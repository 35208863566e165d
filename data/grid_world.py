"""A room of MiniGrid with its rules, BabyAI's instructions, an expert, and two looks. This repository's own code.

The rules are those of MiniGrid 3.2.0 (Chevalier-Boisvert et al. 2023): the seven actions and their numbers, what can be
walked through, picked up, dropped and toggled, and the reward 1 - 0.9 t / T. Success is judged as BabyAI's verifier
does when it waits for the action "done" (Chevalier-Boisvert et al. 2019). Of its world there are one room, three kinds
of object and four colours: no doors, lava or goal tiles, and nothing is hidden from view.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import product
from typing import Literal

import numpy as np
import torch
from torch import Tensor

SIZE, TILE = 7, 8
"""Cells along an edge of the room, its walls among them; pixels along an edge of a cell."""
STEPS = 20
"""Actions of an episode at most, T in the reward."""
VERBS = ("go to", "pick up", "put")
COLOURS = {"red": (220, 50, 40), "green": (40, 170, 60), "blue": (50, 80, 230), "yellow": (230, 200, 40)}
SHAPES = ("ball", "key", "box")
KINDS = tuple(product(COLOURS, SHAPES))
"""What an object can be, in the order of its number."""
MISSIONS = tuple(product(range(len(VERBS)), range(len(KINDS))))
"""(verb, kind of object), in the order of the mission's number."""
HEADINGS = ((0, 1), (1, 0), (0, -1), (-1, 0))
"""Right, down, left, up, as (rows, columns)."""
_AGENT = 1 + len(KINDS)
_WALL = _AGENT + len(HEADINGS)

Cell = tuple[int, int]
Pose = tuple[Cell, int]


class Action(IntEnum):
    """MiniGrid's actions by their numbers."""

    LEFT, RIGHT, FORWARD, PICKUP, DROP, TOGGLE, DONE = range(7)


def text_of(mission: int) -> str:
    """The mission in BabyAI's words, such as "pick up the red ball" or "put the red ball next to the key"."""
    verb, kind = MISSIONS[mission]
    _, shape = KINDS[kind]
    place = f" next to the {_beyond(shape)}" if VERBS[verb] == "put" else ""
    return f"{VERBS[verb]} the {' '.join(KINDS[kind])}{place}"


@dataclass
class World:
    """Where the agent and the objects are, and what is to be done."""

    mission: int
    agent: Cell
    heading: int
    objects: dict[Cell, int]
    """The kind of object in each cell that has one; one of each shape at the beginning."""
    carried: int | None = None
    taken_steps: int = 0
    ended: bool = False
    reward: float = 0.0
    matched: bool = False
    """Whether the last action fulfilled the mission, so that "done" now means success."""
    known: dict[int, Cell] = field(init=False)
    """Where each kind was at the beginning or after the last attempt to drop: BabyAI looks for objects only then."""

    def __post_init__(self) -> None:
        self.kinds = tuple(self.objects.values())
        self.known = _places(self.objects)

    @property
    def target(self) -> int:
        """The kind that the mission names."""
        return MISSIONS[self.mission][1]

    @property
    def landmark(self) -> int:
        """The kind that the target is to be put next to."""
        return next(kind for kind in self.kinds if KINDS[kind][1] == _beyond(KINDS[self.target][1]))

    @property
    def front(self) -> Cell:
        return _ahead(self.agent, self.heading)

    def step(self, action: int) -> None:
        """Acts, and ends the episode on "done" or after `STEPS`; an episode that has ended stays as it is."""
        if self.ended:
            return
        self.taken_steps += 1
        before = self.carried
        if action == Action.LEFT:
            self.heading = (self.heading - 1) % 4
        elif action == Action.RIGHT:
            self.heading = (self.heading + 1) % 4
        elif action == Action.FORWARD and self._free(self.front):
            self.agent = self.front
        elif action == Action.PICKUP and self.carried is None:
            self.carried = self.objects.pop(self.front, None)
        elif action == Action.DROP and self.carried is not None and self._free(self.front):
            self.objects[self.front], self.carried = self.carried, None
        elif action == Action.TOGGLE and self.objects.get(self.front) in _BOXES:
            del self.objects[self.front]  # an empty box vanishes as it is opened
        if action == Action.DROP:
            self.known = _places(self.objects)
        if action == Action.DONE and self.matched:
            self.reward = 1 - 0.9 * self.taken_steps / STEPS
        self.ended = action == Action.DONE or self.taken_steps == STEPS
        self.matched = self._matches(action, before)

    def succeeded(self) -> bool:
        """Whether "done" was said right after the mission was fulfilled, and not before."""
        return self.reward > 0

    def expert(self) -> int:
        """The next action of somebody who knows the mission; it depends on what can be seen and on nothing else."""
        verb = VERBS[MISSIONS[self.mission][0]]
        places = _places(self.objects)
        if self.carried == self.target:
            if verb == "pick up":
                return Action.DONE
            if verb == "go to":  # never by this expert, only by whoever acted before
                return Action.DROP
            goal = places.get(self.landmark)
            return self._towards(lambda front: self._free(front) and _beside(front, goal), Action.DROP)
        goal = places.get(self.target)
        if verb == "put" and _beside(goal, places.get(self.landmark)):
            return Action.DONE
        return self._towards(lambda front: front == goal, Action.DONE if verb == "go to" else Action.PICKUP)

    def grid(self) -> np.ndarray:
        """uint8 (SIZE, SIZE): 0 for floor, 1 + kind for an object, then the agent by its heading, then wall."""
        cells = np.full((SIZE, SIZE), _WALL, np.uint8)
        cells[1:-1, 1:-1] = 0
        for cell, kind in self.objects.items():
            cells[cell] = 1 + kind
        cells[self.agent] = _AGENT + self.heading
        return cells

    def _matches(self, action: int, before: int | None) -> bool:
        verb = VERBS[MISSIONS[self.mission][0]]
        if verb == "go to":
            return self.front == self.known.get(self.target)
        if verb == "pick up":
            return action == Action.PICKUP and before is None and self.carried == self.target
        dropped = action == Action.DROP and before == self.target
        return dropped and _beside(self.known.get(self.target), self.known.get(self.landmark))

    def _free(self, cell: Cell) -> bool:
        return 0 < cell[0] < SIZE - 1 and 0 < cell[1] < SIZE - 1 and cell not in self.objects

    def _towards(self, reached: Callable[[Cell], bool], then: Action) -> int:
        """The first action of a shortest way to face such a cell, found breadth first; `then` where it is faced."""
        start: Pose = self.agent, self.heading
        queue: deque[tuple[Pose, Action]] = deque([(start, then)])
        seen = {start}
        while queue:
            (cell, heading), first = queue.popleft()
            ahead = _ahead(cell, heading)
            if reached(ahead):
                return first
            poses = {Action.LEFT: (cell, (heading - 1) % 4), Action.RIGHT: (cell, (heading + 1) % 4)}
            if self._free(ahead):
                poses[Action.FORWARD] = ahead, heading
            for action, pose in poses.items():
                if pose not in seen:
                    seen.add(pose)
                    queue.append((pose, action if (cell, heading) == start else first))
        return Action.DONE


def draw_world(mission: int, *key: int) -> World:
    """A world with one object of each shape, of which none touch, and the agent facing none; the same for a key."""
    rng = np.random.default_rng([mission, *key])
    _, target = MISSIONS[mission]
    first = SHAPES.index(KINDS[target][1])
    colours = rng.integers(len(COLOURS), size=2).tolist()
    others = [colour * len(SHAPES) + (first + 1 + n) % len(SHAPES) for n, colour in enumerate(colours)]
    inside = list(product(range(1, SIZE - 1), repeat=2))
    cells: list[Cell] = []
    for at in rng.permutation(len(inside)):
        if all(max(abs(inside[at][0] - r), abs(inside[at][1] - c)) >= 2 for r, c in cells):
            cells.append(inside[at])
    objects = dict(zip(cells[:3], [target, *others], strict=True))
    poses = [(cell, heading) for cell, heading in product(inside, range(4)) if cell not in objects]
    poses = [pose for pose in poses if _ahead(*pose) not in objects]
    return World(mission, *poses[int(rng.integers(len(poses)))], objects)


def render(grids: Tensor, look: Literal["robot", "human"]) -> Tensor:
    """Pixels of worlds: uint8 (..., SIZE, SIZE) to uint8 (..., 3, SIZE * TILE, SIZE * TILE)."""
    # (..., row, column, row within the tile, column within it, colour)
    tiles = torch.from_numpy(_tiles(look)).to(grids.device)[grids.long()]
    *lead, rows, columns, height, width, colours = tiles.shape
    pixels = tiles.movedim(-1, -5).transpose(-3, -2)
    return pixels.reshape(*lead, colours, rows * height, columns * width)


def _tiles(look: str) -> np.ndarray:
    floor, agent, wall = {
        "robot": ((235, 235, 235), (90, 90, 90), (150, 150, 150)),
        "human": ((70, 60, 90), (240, 190, 150), (30, 20, 40)),
    }[look]
    y, x = np.mgrid[:TILE, :TILE] - (TILE - 1) / 2
    masks = {
        "ball": x**2 + y**2 <= 10,
        "key": ((np.abs(x) <= 1) & (np.abs(y) <= 3.5)) | ((y >= 1) & (y <= 3.5) & (x >= 0) & (x <= 3)),
        "box": (np.maximum(np.abs(x), np.abs(y)) <= 3.5) & (np.maximum(np.abs(x), np.abs(y)) >= 2),
    }
    # Both look up here: the robot is a triangle, the human a head above a body.
    figure = (
        np.abs(x) <= (y + 3.5) / 2 if look == "robot" else (x**2 + (y + 2) ** 2 <= 4) | ((y >= 0) & (np.abs(x) <= 2))
    )
    tiles = np.empty((_WALL + 1, TILE, TILE, 3), np.uint8)
    tiles[:], tiles[_WALL] = floor, wall
    for number, (colour, shape) in enumerate(KINDS):
        tiles[1 + number][masks[shape]] = COLOURS[colour]
    for heading in range(len(HEADINGS)):
        tiles[_AGENT + heading][np.rot90(figure, -(heading + 1))] = agent
    return tiles


def _beyond(shape: str) -> str:
    """The shape that one of this shape is put next to."""
    return SHAPES[(SHAPES.index(shape) + 1) % len(SHAPES)]


_BOXES = frozenset(number for number, (_, shape) in enumerate(KINDS) if shape == "box")


def _places(objects: dict[Cell, int]) -> dict[int, Cell]:
    return {kind: cell for cell, kind in objects.items()}


def _ahead(cell: Cell, heading: int) -> Cell:
    return cell[0] + HEADINGS[heading][0], cell[1] + HEADINGS[heading][1]


def _beside(cell: Cell | None, other: Cell | None) -> bool:
    """Whether two cells share an edge; no cell shares one with None."""
    return cell is not None and other is not None and abs(cell[0] - other[0]) + abs(cell[1] - other[1]) == 1
