"""A small grid world with missions and an expert, after MiniGrid (Chevalier-Boisvert et al. 2023), in two looks."""

from collections import deque
from dataclasses import dataclass, field
from itertools import product
from typing import Literal

import numpy as np
import torch
from torch import Tensor

SIZE, TILE = 7, 8
"""Cells along an edge of the world, pixels along an edge of a cell."""
VERBS = ("go to", "pick up", "circle")
COLOURS = {"red": (220, 50, 40), "green": (40, 170, 60), "blue": (50, 80, 230), "yellow": (230, 200, 40)}
SHAPES = ("ball", "key", "box")
KINDS = tuple(product(COLOURS, SHAPES))
"""What an object can be, in the order of its number."""
MISSIONS = tuple(product(range(len(VERBS)), range(len(KINDS))))
"""(verb, kind of object), in the order of the mission's number."""
MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))
PICK, STAY = len(MOVES), len(MOVES) + 1
ACTIONS = len(MOVES) + 2

Cell = tuple[int, int]
# Clockwise round a cell.
_RING = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))


def text_of(mission: int) -> str:
    """The mission in words, such as "pick up the red ball"."""
    verb, kind = MISSIONS[mission]
    return f"{VERBS[verb]} the {' '.join(KINDS[kind])}"


@dataclass
class World:
    """Where the agent and the objects are, and what is to be done."""

    mission: int
    agent: Cell
    objects: dict[Cell, int]
    """The kind of object in each cell that has one; no two of a kind, and their surroundings do not touch."""
    target: Cell
    visited: set[Cell] = field(default_factory=set)
    taken: set[Cell] = field(default_factory=set)

    def step(self, action: int) -> None:
        """Moves, unless the edge or an object is in the way; picks up the object beside; or stays."""
        if action < len(MOVES):
            there = self.agent[0] + MOVES[action][0], self.agent[1] + MOVES[action][1]
            if self._free(there):
                self.agent = there
        elif action == PICK:
            for cell in set(_beside(self.agent)) & set(self.objects):
                del self.objects[cell]
                self.taken.add(cell)
        self.visited.add(self.agent)

    def succeeded(self) -> bool:
        """Whether the agent stands beside the target, or has walked all around it, or has picked up nothing else."""
        verb, _ = MISSIONS[self.mission]
        if VERBS[verb] == "go to":
            return not self.taken and self.target in _beside(self.agent)
        if VERBS[verb] == "pick up":
            return self.taken == {self.target}
        return not self.taken and _around(self.target) <= self.visited

    def expert(self) -> int:
        """The next action of somebody who knows the mission; it depends on what can be seen and on nothing else."""
        verb, _ = MISSIONS[self.mission]
        if VERBS[verb] == "circle":
            goals = _around(self.target)
            if self.agent in goals:
                at = _RING.index((self.agent[0] - self.target[0], self.agent[1] - self.target[1]))
                ahead = _RING[(at + 1) % len(_RING)]
                return MOVES.index((ahead[0] - _RING[at][0], ahead[1] - _RING[at][1]))
            return self._towards(goals)
        if self.target not in self.objects:
            return STAY
        goals = set(_beside(self.target))
        if self.agent in goals:
            return PICK if VERBS[verb] == "pick up" else STAY
        return self._towards(goals)

    def grid(self) -> np.ndarray:
        """0 for floor, 1 + kind for an object, `len(KINDS)` + 1 for the agent; uint8 of shape (SIZE, SIZE)."""
        cells = np.zeros((SIZE, SIZE), np.uint8)
        for cell, kind in self.objects.items():
            cells[cell] = 1 + kind
        cells[self.agent] = 1 + len(KINDS)
        return cells

    def _free(self, cell: Cell) -> bool:
        return 0 <= cell[0] < SIZE and 0 <= cell[1] < SIZE and cell not in self.objects

    def _towards(self, goals: set[Cell]) -> int:
        """The first move of a shortest way, found breadth first."""
        queue, seen = deque([(self.agent, STAY)]), {self.agent}
        while queue:
            cell, first = queue.popleft()
            if cell in goals:
                return first
            for action, (down, right) in enumerate(MOVES):
                there = cell[0] + down, cell[1] + right
                if self._free(there) and there not in seen:
                    seen.add(there)
                    queue.append((there, action if first == STAY else first))
        return STAY


def draw_world(mission: int, *key: int) -> World:
    """A world with the mission's object and two others; the same for the same key."""
    rng = np.random.default_rng([mission, *key])
    _, kind = MISSIONS[mission]
    others = [int(other) for other in rng.permutation(len(KINDS)) if other != kind][:2]
    cells: list[Cell] = []
    while len(cells) < 3:
        cells = []
        for at in rng.permutation((SIZE - 2) ** 2):
            cell = 1 + int(at) // (SIZE - 2), 1 + int(at) % (SIZE - 2)
            if all(max(abs(cell[0] - r), abs(cell[1] - c)) >= 3 for r, c in cells):
                cells.append(cell)
    objects = dict(zip(cells[:3], [kind, *others], strict=True))
    free = [cell for cell in product(range(SIZE), repeat=2) if cell not in objects]
    return World(mission, free[int(rng.integers(len(free)))], objects, cells[0])


def render(grids: Tensor, look: Literal["robot", "human"]) -> Tensor:
    """Pixels of worlds: uint8 (..., SIZE, SIZE) to uint8 (..., 3, SIZE * TILE, SIZE * TILE)."""
    # (..., row, column, row within the tile, column within it, colour)
    tiles = torch.from_numpy(_tiles(look)).to(grids.device)[grids.long()]
    *lead, rows, columns, height, width, colours = tiles.shape
    pixels = tiles.movedim(-1, -5).transpose(-3, -2)
    return pixels.reshape(*lead, colours, rows * height, columns * width)


def _tiles(look: str) -> np.ndarray:
    floor, agent = {"robot": ((235, 235, 235), (90, 90, 90)), "human": ((70, 60, 90), (240, 190, 150))}[look]
    y, x = np.mgrid[:TILE, :TILE] - (TILE - 1) / 2
    masks = {
        "ball": x**2 + y**2 <= 10,
        "key": ((np.abs(x) <= 1) & (np.abs(y) <= 3.5)) | ((y >= 1) & (y <= 3.5) & (x >= 0) & (x <= 3)),
        "box": (np.maximum(np.abs(x), np.abs(y)) <= 3.5) & (np.maximum(np.abs(x), np.abs(y)) >= 2),
    }
    # The robot is a triangle, the human a head above a body.
    figure = (
        np.abs(x) <= (y + 3.5) / 2 if look == "robot" else (x**2 + (y + 2) ** 2 <= 4) | ((y >= 0) & (np.abs(x) <= 2))
    )
    tiles = np.empty((2 + len(KINDS), TILE, TILE, 3), np.uint8)
    tiles[:] = floor
    for number, (colour, shape) in enumerate(KINDS):
        tiles[1 + number][masks[shape]] = COLOURS[colour]
    tiles[1 + len(KINDS)][figure] = agent
    return tiles


def _beside(cell: Cell) -> tuple[Cell, ...]:
    return tuple((cell[0] + down, cell[1] + right) for down, right in MOVES)


def _around(cell: Cell) -> set[Cell]:
    return {(cell[0] + down, cell[1] + right) for down, right in _RING}
