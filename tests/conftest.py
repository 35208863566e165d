"""Fixtures that several folders of tests share."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

# One thread a worker of pytest, said before torch is imported: with two, `-n 2` has four threads on two cores.
for library in ("OMP", "MKL", "OPENBLAS"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")

# Triton's kernels run in its interpreter here, which is decided when Triton is imported.
os.environ.setdefault("TRITON_INTERPRET", "1")

import pytest  # noqa: E402

from data.clients import MissingClient  # noqa: E402
from data.sources.base import Source  # noqa: E402

# A shell starts what it runs in the background with SIGINT ignored, and children inherit that; tests send them one.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


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


@pytest.fixture
def toy_root(tmp_path):
    """A repository with one small paper, `toy`."""
    shutil.copytree(Path(__file__).parent / "fixtures" / "toy", tmp_path, dirs_exist_ok=True)
    return tmp_path
