"""A training in stages, one after the other, each with learning rates of its own."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate

from common.errors import UserError
from common.training.method import Schedule, warmup_decay


class Stages:
    """Which stage a step belongs to, where the stages' lengths are in proportion to given ones.

    Args:
        lengths: of the stages, in any unit; a stage of 0 is left out.
        total: steps of the whole training.

    Raises:
        UserError: a length is negative, or there is none above 0.
    """

    def __init__(self, lengths: Sequence[float], total: int) -> None:
        whole = sum(lengths)
        if min(lengths, default=0) < 0 or whole <= 0:
            raise UserError(f"stages of {', '.join(map(str, lengths))} steps: none may be below 0, and one is above")
        self.ends = [round(total * end / whole) for end in accumulate(lengths)]
        """The step, from 0, before which each stage ends."""

    def at(self, step: int) -> int:
        """The stage of a step, from 0; that of the last step for all behind it."""
        return bisect_right(self.ends, min(step, self.ends[-1] - 1))

    def begins(self, step: int) -> bool:
        """Whether a step is the first of its stage."""
        return step == 0 or self.at(step) != self.at(step - 1)

    def rates(self, peaks: Sequence[float], warmups: Sequence[float], decay: Schedule) -> Callable[[int], float]:
        """The learning rate at each step: every stage has a peak, a share of warm-up and a decay to its own end."""
        starts = [0, *self.ends]
        factors = [
            warmup_decay(end - start, warmup, decay)
            for start, end, warmup in zip(starts, self.ends, warmups, strict=False)
        ]

        def rate(step: int) -> float:
            stage = self.at(step)
            return peaks[stage] * factors[stage](step - starts[stage])

        return rate
