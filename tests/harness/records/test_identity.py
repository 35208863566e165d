import copy
import importlib
import pkgutil

import pytest
from lightning.pytorch import Callback, LightningModule

from common.benchmark import Benchmark
from common.errors import UserError
from common.training.method import Method
from harness.recipes import recipe
from harness.records import identity
from tests.harness.toy import edit, toy_hash


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("# Learns within a blink.", "# Another comment.", True),
        ("seed_everything: 0", "seed_everything: 5", True),
        ("    lr: 5e-2\n", "    lr: 0.05\n", True),
        ("    width: 4\n", "    width: 4\n    dropout: 0.1\n", True),  # the default, spelt out
        ("  accelerator: cpu", "  accelerator: auto\n  devices: 2", True),
        ("  accelerator: cpu", "  accelerator: cpu\n  log_every_n_steps: 1", True),
        ("    size: 32\n", "    size: 32\n    seed: 9\n", True),
        ("    lr: 5e-2\n", "    lr: 6e-2\n", False),
        ("    width: 4\n", "    width: 4\n    dropout: 0.2\n", False),
        ("    size: 32\n", "    size: 33\n", False),
        ("max_epochs: 2", "max_epochs: 3", False),
        ("  accelerator: cpu", "  accelerator: cpu\n  gradient_clip_val: 1.0", False),
        ("toylab.Repeat", "toylab.Plain", False),
    ],
)
def test_the_hash_changes_with_what_decides_the_outcome_and_only_then(card, old, new, same):
    before = toy_hash(card)
    edit(card, old, new)
    assert (toy_hash(card) == before) is same


def test_an_argument_added_later_leaves_old_hashes_alone(card, monkeypatch):
    config = recipe.arm_config(card, card.experiment("main"), "repeat")
    resolved = recipe.resolve(config)
    old = copy.deepcopy(resolved)
    del old["model"]["init_args"]["dropout"]
    before = identity.recipe_hash(config, old)
    assert identity.recipe_hash(config, resolved) != before
    monkeypatch.setattr(Method, "added_later", Method.added_later | {"dropout": 0.1})
    assert identity.recipe_hash(config, resolved) == before
    resolved["model"]["init_args"]["dropout"] = 0.2
    assert identity.recipe_hash(config, resolved) != before
    # A default that is a tuple is a list in a recipe.
    resolved["model"]["init_args"]["dropout"] = []
    monkeypatch.setattr(Method, "added_later", Method.added_later | {"dropout": ()})
    assert identity.recipe_hash(config, resolved) == before


def test_arms_have_hashes_of_their_own(card):
    assert len({toy_hash(card, arm) for arm in ("repeat", "plain", "untrained")}) == 3


CALLBACK = """

class Watch(Callback):
    def __init__(self, often: int = 1) -> None:
        self.often = often
"""


def test_classes_may_move_and_be_renamed_with_an_alias(card):
    code = "from lightning.pytorch import Callback\n" + (card.root / "toylab.py").read_text() + CALLBACK
    (card.root / "toylab_one.py").write_text(code)
    edit(card, "  accelerator: cpu", "  accelerator: cpu\n  callbacks: [{class_path: toylab_one.Watch}]")
    for section in ("Repeat", "Numbers"):
        edit(card, f"toylab.{section}", f"toylab_one.{section}")
    before = toy_hash(card)

    (card.root / "toylab_two.py").write_text(code)
    for section in ("Repeat", "Numbers", "Watch"):
        edit(card, f"toylab_one.{section}", f"toylab_two.{section}")
    assert toy_hash(card) == before

    for old, new, base in (("Repeat", "Echo", "Method"), ("Watch", "Guard", "Callback")):
        head = f"class {old}({base}):\n"
        assert code.count(head) == 1
        code = code.replace(head, f'class {new}({base}):\n    recorded_as = "{old}"\n\n').replace(
            f"({old})", f"({new})"
        )
        edit(card, f"toylab_two.{old}", f"toylab_three.{new}")
    edit(card, "toylab_two.Numbers", "toylab_three.Numbers")
    (card.root / "toylab_three.py").write_text(code)
    assert toy_hash(card) == before

    # The alias is of the class alone: what inherits from it is another.
    edit(card, "toylab_three.Echo", "toylab_three.Plain")
    assert toy_hash(card) != before


def test_a_default_of_a_recipes_class_is_part_of_the_hash(card):
    before = toy_hash(card)
    code = (card.root / "toylab.py").read_text()
    (card.root / "toylab_four.py").write_text(code.replace("dropout: float = 0.1", "dropout: float = 0.2"))
    edit(card, "toylab.Repeat", "toylab_four.Repeat")
    assert toy_hash(card) != before


CHECKS = '''\
"""Checks."""
import math
from common.losses import sup_con as loss

SHIFT = 2.0
UNUSED = 3


def helper(x):
    """What it does."""
    return x + SHIFT  # a comment


class Shape:
    """A shape."""
    width = 4


def other(seed):
    return 1.0


def check(seed: int) -> float:
    """The deviation."""
    return loss(helper(seed)) + Shape.width
'''


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ('"""Checks."""', '"""Reworded."""', True),
        ('"""What it does."""', '"""Something else.\n\n    At length.\n    """', True),
        ('    """The deviation."""\n', "", True),
        ("  # a comment", "", True),
        ("x + SHIFT", "(x\n            + SHIFT)", True),
        ("UNUSED = 3", "UNUSED = 4", True),
        ("return 1.0", "return 2.0", True),
        ("import math\n", "import math\nimport os\n", True),
        ("from common.losses import", "from common.elsewhere import", True),
        ("import sup_con as", "import info_nce as", False),
        ("SHIFT = 2.0", "SHIFT = 2.5", False),
        ("x + SHIFT", "x - SHIFT", False),
        ("width = 4", "width = 5", False),
        ("+ Shape.width", "- Shape.width", False),
    ],
)
def test_a_check_is_known_by_its_function_and_what_it_reaches(tmp_path, old, new, same):
    before, after = tmp_path / "before.py", tmp_path / "elsewhere" / "after.py"
    before.write_text(CHECKS)
    after.parent.mkdir()
    assert CHECKS.count(old) == 1
    after.write_text(CHECKS.replace(old, new))
    hashes = [identity.function_hash(path, "check") for path in (before, after)]
    assert (hashes[0] == hashes[1]) is same


def test_a_check_that_is_missing_or_no_python_is_named(tmp_path):
    path = tmp_path / "checks.py"
    path.write_text("def check(seed:\n")
    with pytest.raises(UserError, match=r"checks\.py:1: "):
        identity.function_hash(path, "check")
    path.write_text(CHECKS)
    with pytest.raises(KeyError):
        identity.function_hash(path, "chekc")


def test_no_two_classes_of_the_tree_share_a_stable_name():
    import common
    import data
    import papers

    for package in (common, data, papers):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    names: dict[str, set[str]] = {}
    waiting: list[type] = [LightningModule, Benchmark, Callback]
    while waiting:
        cls = waiting.pop()
        waiting += cls.__subclasses__()
        if cls.__module__.partition(".")[0] in ("common", "data", "papers", "lightning"):
            path = f"{cls.__module__}.{cls.__qualname__}"
            names.setdefault(vars(cls).get("recorded_as", cls.__name__), set()).add(path)
    shared = {name: paths for name, paths in names.items() if len(paths) > 1 and not name.startswith("_")}
    assert not shared
