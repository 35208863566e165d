"""Fixtures for tests that read real data."""

import os
from collections.abc import Callable

# One thread a worker of pytest, said before torch is imported: with two, `-n 2` has four threads on two cores.
for library in ("OMP", "MKL", "OPENBLAS"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")

import pytest

from data.clients import MissingClient  # noqa: E402
from data.sources.base import Source  # noqa: E402


@pytest.fixture(scope="session")
def fetched() -> Callable[..., None]:
    """Fetches sources, or skips the test where their client is absent; any other failure fails the test."""

    def fetch(*sources: Source) -> None:
        for source in sources:
            try:
                source.fetch()
            except MissingClient as error:
                pytest.skip(str(error))

    return fetch
