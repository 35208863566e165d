import shutil

import pytest

from tests.harness import house


@pytest.fixture(scope="session")
def recorded_house(tmp_path_factory):
    root = house.build(tmp_path_factory.mktemp("recorded"))
    house.run_all(root)
    return root


@pytest.fixture
def root(recorded_house, tmp_path):
    """A house of papers whose runs are on record and whose report is not written yet (see `house`)."""
    return shutil.copytree(recorded_house, tmp_path / "house")
