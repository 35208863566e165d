"""Show it once and let the agent do it: missions in a room of MiniGrid, prompted by a video. Generated."""

from collections.abc import Callable
from copy import copy, deepcopy
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import Demonstrations as Batch
from common.benchmark import Benchmark, Metrics, digest
from common.errors import UserError
from common.evaluation.embed import embed_dataset, evaluating
from common.evaluation.means import Mean
from common.evaluation.retrieval import retrieval_metrics, same_id
from common.protocols import ActsOnPrompt, EmbedsVideo
from common.random import uniform
from common.sampling.batches import ResumableLoader
from common.table import Rows, Table
from data.cache import cached_tensors
from data.grid_world import MISSIONS, STEPS, Action, World, draw_world, render, text_of

FRAMES = 8
"""Pictures of a prompt."""
TRAIN, VAL, TEST = 40, 2, 4
"""Episodes of each mission."""
VERSION = 2

Look = Literal["robot", "human"]
Policy = Callable[[Tensor, Tensor, list[World]], Tensor]


class Shown(NamedTuple):
    """A batch as it is stored: worlds instead of pixels."""

    prompt: Tensor
    """uint8 (n, FRAMES, SIZE, SIZE)."""
    is_human: Tensor
    """Whether the prompt is drawn as a human, bool (n,)."""
    worlds: Tensor
    """uint8 (n, STEPS + 1, SIZE, SIZE)."""
    actions: Tensor
    missions: Tensor
    ids: Tensor


class Demonstrations(Benchmark):
    """36 missions by MiniGrid's rules (go to, pick up, put next to another), 40 expert episodes of each to learn from.

    A prompt is 8 pictures of the mission done in another layout, by the robot or, in other colours, with another figure
    and hesitating, by a "human"; of those there are few. New layouts are scored: 2 of each mission for validation, 4
    for the test.

    The data is generated. MiniGrid ships no recordings, only the simulator, and no foreign code runs here to make data;
    so `data.grid_world` follows its rules on its own, and a test replays what MiniGrid 3.2.0 itself answered to fixed
    layouts and actions: positions, directions, what is carried, rewards, ends, and missions in words. It differs in
    what the agent sees, which is the whole room and not the seven cells ahead, in how things are drawn, and in its
    expert, which is a shortest-way search and not BabyAI's bot.

    Args:
        batch_size, seed, data_root: as in `Benchmark`.
        human_videos: how many prompts of the human look there are, a multiple of 36 and at most 1,440. With any, half
            of the prompts of an epoch are human.
    """

    name = "demonstrations"
    primary = "success/human_prompt"

    def __init__(
        self, batch_size: int = 64, seed: int = 0, data_root: str | None = None, human_videos: int = 144
    ) -> None:
        super().__init__(batch_size, seed, data_root)
        most = len(MISSIONS) * TRAIN
        if human_videos % len(MISSIONS) or not 0 <= human_videos <= most:
            raise UserError(f"data.human_videos is {human_videos}; it must be a multiple of 36 from 0 to {most}")
        self.human_videos = human_videos
        self.data: dict[str, Tensor] = {}

    def build(self) -> None:
        self.data = cached_tensors("demonstrations", _film, (), version=VERSION)

    def sizes(self) -> dict[str, int]:
        return {name: count * len(MISSIONS) for name, count in (("train", TRAIN), ("val", VAL), ("test", TEST))}

    def train_dataloader(self) -> ResumableLoader:
        self.setup()
        return Table(Rows(torch.arange(len(MISSIONS) * TRAIN)), self._shown).loader(self.batch_size, self.seed)

    def _shown(self, rows: Rows, seed: int, epoch: int) -> Shown:
        """Episodes; the prompt of each is another one in each epoch."""
        ids, humans = rows.index, self.human_videos // len(MISSIONS)
        missions = ids // TRAIN
        draw = uniform(ids, 2, seed, epoch, 44)
        human = (draw[:, 0] < 0.5) & (humans > 0)
        # Another episode of the mission: never the one that is to be imitated.
        robot = missions * TRAIN + (ids % TRAIN + 1 + (draw[:, 1] * (TRAIN - 1)).long()) % TRAIN
        chosen = missions * TRAIN + (draw[:, 1] * humans).long()
        prompt = torch.where(human[:, None, None, None], self.data["human"][chosen], self.data["robot"][robot])
        return Shown(prompt, human, self.data["worlds"][ids], self.data["actions"][ids], missions, ids)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Draws the pictures of a training batch; the names of splits that are scored pass through."""
        if not isinstance(batch, Shown):
            return batch
        human = batch.is_human[:, None, None, None, None]
        prompt = torch.where(human, render(batch.prompt, "human"), render(batch.prompt, "robot"))
        frames = render(batch.worlds[:, :-1], "robot")
        text = [text_of(mission) for mission in batch.missions.tolist()]
        return Batch(prompt, frames, batch.actions, text, batch.missions, batch.ids)

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """Lets the module act in each layout of the split, for at most 20 steps, after a prompt from another layout.

        Returns:
            `success/human_prompt` and `success/robot_prompt`, the shares of episodes in which "done" is said as soon
            as the mission is fulfilled and not before; and, if the module embeds videos,
            `human_to_robot/recall@1/galleryN`: the nearest robot prompt is of the mission.

        Raises:
            UserError: the module does not offer `act`, or there is no such split.
        """
        self.setup()
        self.check_request(module, split, ActsOnPrompt)
        with evaluating(module):
            metrics = self._metrics(lambda prompt, frames, _: module.act(prompt, frames), split)
        if isinstance(module, EmbedsVideo):
            human, robot = (
                F.normalize(
                    embed_dataset(module.embed_video, render(self.prompts(split, look), look), 64, module), dim=1
                )
                for look in ("human", "robot")
            )
            missions = torch.arange(len(human), device=human.device) % len(MISSIONS)
            found = retrieval_metrics(human, robot, same_id(missions, missions), at=(1,))
            metrics |= {f"human_to_robot/recall@1/gallery{len(robot)}": found[f"recall@1/gallery{len(robot)}"]}
        return metrics

    def prompts(self, split: str, look: Look) -> Tensor:
        """The prompts of a scored split, mission by mission and then again, uint8 (n, FRAMES, SIZE, SIZE)."""
        return self.data[f"{split}_{look}"]

    def _metrics(self, policy: Policy, split: str) -> Metrics:
        return {f"success/{look}_prompt": self._success(policy, split, look) for look in ("human", "robot")}

    def _success(self, policy: Policy, split: str, look: Look) -> float:
        worlds = [deepcopy(world) for world in _worlds(split)]
        prompt = render(self.prompts(split, look), look)
        before = _picture(worlds)
        for _ in range(STEPS):
            now = _picture(worlds)
            actions = policy(prompt, torch.stack([before, now], dim=1), worlds).argmax(dim=1)
            before = now
            for world, action in zip(worlds, actions.tolist(), strict=True):
                world.step(action)
        return Mean([world.succeeded() for world in worlds])

    def floor(self) -> dict[str, Metrics]:
        """Random actions, and an expert who does not look at the prompt: some mission with one of the objects."""
        self.setup()

        def random(prompt: Tensor, frames: Tensor, worlds: list[World]) -> Tensor:
            nonlocal step
            step += 1
            return uniform(torch.arange(len(worlds)), len(Action), 45, step)

        def blind(prompt: Tensor, frames: Tensor, worlds: list[World]) -> Tensor:
            best = [_guess(world, number).expert() for number, world in enumerate(worlds)]
            return F.one_hot(torch.tensor(best), len(Action))

        step = 0
        return {"random actions": self._metrics(random, "test"), "blind expert": self._metrics(blind, "test")}

    def example(self) -> str:
        self.setup()
        rows = zip(range(0, 36, 8), self.data["actions"][::320].tolist(), strict=False)
        return "\n".join(f"{text_of(mission)}: actions {actions}" for mission, actions in rows)

    def fingerprint(self) -> str:
        self.setup()
        return digest((VERSION, self.human_videos), *(self.data[name] for name in sorted(self.data)))


def _guess(world: World, number: int) -> World:
    """The same world with a mission that its number draws: any verb, any of the objects that were there at first."""
    draw = uniform(torch.tensor([number]), 2, 46)[0].tolist()
    other = copy(world)
    other.mission = MISSIONS.index((int(draw[0] * 3), sorted(world.kinds)[int(draw[1] * 3)]))
    return other


def _picture(worlds: list[World]) -> Tensor:
    return render(torch.from_numpy(np.stack([world.grid() for world in worlds])), "robot")


def _worlds(split: str) -> list[World]:
    """The layouts that are scored, all missions and then all missions again."""
    count, key = {"val": (VAL, 1), "test": (TEST, 2)}[split]
    return [draw_world(mission, key, episode) for episode in range(count) for mission in range(len(MISSIONS))]


def _episode(world: World) -> tuple[np.ndarray, list[int]]:
    """Everything the robot sees from the beginning to the end, and what it does; "done" again where it is done."""
    grids, actions = [world.grid()], []
    for _ in range(STEPS):
        actions.append(int(world.expert()))
        world.step(actions[-1])
        grids.append(world.grid())
    return np.stack(grids), actions


def _video(world: World, look: Look, *key: int) -> np.ndarray:
    """A prompt. A human stands still at every other moment in the mean, so the same pictures are of other moments."""
    rng = np.random.default_rng([3, *key])
    grids = [world.grid()]
    while not world.ended:
        if look == "robot" or rng.random() < 0.5:
            world.step(world.expert())
        grids.append(world.grid())
    return np.stack([grids[at] for at in np.linspace(0, len(grids) - 1, FRAMES).round().astype(int)])


def _film() -> dict[str, Tensor]:
    missions = range(len(MISSIONS))
    episodes = [_episode(draw_world(mission, 0, number)) for mission in missions for number in range(TRAIN)]
    found = {
        "worlds": np.stack([grids for grids, _ in episodes]),
        "actions": np.array([actions for _, actions in episodes]),
        "robot": np.stack([_video(draw_world(m, 0, k), "robot") for m in missions for k in range(TRAIN)]),
        "human": np.stack([_video(draw_world(m, 4, k), "human", m, k) for m in missions for k in range(TRAIN)]),
    }
    for split, count, key in (("val", VAL, 5), ("test", TEST, 6)):
        for look, offset in (("robot", 0), ("human", 100)):
            found[f"{split}_{look}"] = np.stack(
                [_video(draw_world(m, key, k + offset), look, m, k, key) for k in range(count) for m in missions]
            )
    return {name: torch.from_numpy(array) for name, array in found.items()}
