import dataclasses

import pytest

from common.experiments import card, verdict
from harness import cli
from harness.recipes.schema_page import SHOWN


def test_every_field_of_a_card_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["schema"]) == 0
    page = capsys.readouterr().out
    lines = page.splitlines()
    assert 'check (text): "module:function"; the function' in page and page.count('"') % 2 == 0
    assert f"{verdict.MARGIN:.0%} (`verdict.MARGIN`)" in page
    explained = {line.split(" (")[0].strip() for line in lines if line.startswith("  ") and "): " in line}
    for name in SHOWN:
        fields = {f.name for f in dataclasses.fields(getattr(card, name)) if "from_folder" not in f.metadata}
        assert fields <= explained, name
    assert any("budget_s" in line for line in lines) and max(map(len, lines)) <= 120
