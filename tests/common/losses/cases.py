"""Every example of every registered loss, and its oracle: what the generated tests run over."""

import importlib
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from torch import Tensor

import common.losses  # noqa: F401  (registers the losses)
from common.losses.registry import LOSSES, Example, LossEntry


class Case(NamedTuple):
    """A loss with one of its examples."""

    entry: LossEntry
    which: int

    def __str__(self) -> str:
        return f"{self.entry.name}-{self.entry.examples[self.which].__name__.strip('_')}"

    def example(self, n: int, seed: int = 0) -> Example:
        """The inputs, with the embeddings as leaves that require a gradient."""
        example = self.entry.examples[self.which](n, seed)
        return replace(example, embeddings={k: v.requires_grad_() for k, v in example.embeddings.items()})

    def oracle(self) -> Callable[..., Tensor]:
        module = self.entry.function.__module__.rsplit(".", 1)[-1]
        return getattr(importlib.import_module(f"tests.oracles.{module}"), self.entry.name)


CASES = [Case(entry, which) for entry in LOSSES.values() for which in range(len(entry.examples))]


def by_name(name: str) -> Case:
    return next(case for case in CASES if str(case) == name)


def arguments(example: Example) -> dict:
    """All arguments of the loss."""
    return {**example.embeddings, **example.samples, **example.shared}


def call(function: Callable[..., Tensor], example: Example, given: dict | None = None) -> Tensor:
    """The function on the example's arguments, or on others in their place."""
    given = arguments(example) if given is None else given
    return example.call(function, **given) if example.call else function(**given)


def is_leaf(value: object) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


def leaves(example: Example) -> list[Tensor]:
    """What the loss is differentiated by."""
    return [value for value in arguments(example).values() if is_leaf(value)]
