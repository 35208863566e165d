"""Fixtures for tests that read real data."""

from collections.abc import Callable

import pytest

from data.clients import MissingClient
from data.sources.base import Source


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
