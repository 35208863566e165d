import shutil
import sys

import pytest

from harness.recipes.catalog import find
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


@pytest.fixture
def card(toy_root, monkeypatch):
    """The card of the toy paper, whose classes can be imported."""
    # Another copy of the toy may have been imported by an earlier test.
    monkeypatch.syspath_prepend(str(toy_root))
    monkeypatch.setattr(sys, "argv", ["papers"])
    return find("toy", toy_root)
