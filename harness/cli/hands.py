"""Who does the runs of a command: processes of this machine, or a cluster."""

import argparse
import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.running.runner import Hire


@contextlib.contextmanager
def hands(given: argparse.Namespace) -> Iterator[tuple[int, "Hire"]]:
    """How many runs go at a time, and who does them: processes of this machine, or a cluster while the block lasts."""
    from harness.running.runner import cores, processes

    if given.cluster is None:
        yield given.workers or cores(), processes
        return
    from harness.running.cluster import connected

    with connected(given.cluster, given.workers) as cluster:
        yield given.workers or cluster.slots(getattr(given, "recipe", None) == "full"), cluster.hire
