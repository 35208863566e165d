"""The arms that have records, each on each version of the data that it was scored on."""

from collections.abc import Iterable
from dataclasses import dataclass

from common.experiments.card import Comparison
from common.experiments.records import Record
from harness.records.standing import Standing, Trial


@dataclass(frozen=True)
class Entry:
    """An arm's records on one version of a benchmark's data."""

    trial: Trial
    arm: str
    records: tuple[Record, ...]

    @property
    def data(self) -> tuple[str, str]:
        """The benchmark and the hash of its data, that of the first seed."""
        return self.records[0].benchmark, self.records[0].data_hash


def arms_on_record(papers: Iterable[Standing]) -> list[Entry]:
    """Each arm of each comparison on each version of the data that it has records of.

    Where every seed has data of its own hash, the seed draws part of it, such as which labels are wrong: then they are
    one version, which goes by the first seed's hash.
    """
    entries = []
    for trial in (trial for paper in papers for trial in paper.trials):
        if isinstance(trial.experiment, Comparison):
            for arm in trial.experiment.arms:
                versions: dict[tuple[str, str], list[Record]] = {}
                own = sorted((record for record in trial.records if record.arm == arm), key=lambda one: one.seed)
                for record in own:
                    versions.setdefault((record.benchmark, record.data_hash), []).append(record)
                drawn = 1 < len(versions) == len(own) == len({record.seed for record in own})
                entries += [Entry(trial, arm, tuple(records)) for records in ([own] if drawn else versions.values())]
    return entries
