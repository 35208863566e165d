"""`papers new`: a paper's folder that runs at once, with a mark `EDIT:` wherever it waits for its author.

The module is the original's main class under a new name, and the original itself is the baseline arm of the card's one
comparison. Nothing outside the new folder changes.
"""

import datetime
import json
import keyword
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from common.errors import UserError
from common.experiments.card import Card, Claim, Comparison
from common.experiments.card_file import load_card
from common.experiments.records import Ledger
from common.lines import read_text
from harness.files import write_text
from harness.pages import report
from harness.recipes import catalog
from harness.recipes.written import load_recipe
from harness.records.standing import standing
from harness.scaffold.module_copy import copied

SLUG = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


def check_slug(slug: str, taken: set[str]) -> None:
    """Raises UserError unless `slug` can name a new folder and Python package."""
    if not _names_a_package(slug):
        raise UserError(f"'{slug}' cannot name a paper; allowed: up to 40 letters as in my_method, no word of Python")
    if slug in taken:
        raise UserError(f"'{slug}' is taken already; choose another name")


def _names_a_package(name: str) -> bool:
    return bool(SLUG.fullmatch(name)) and len(name) <= 40 and not keyword.iskeyword(name)


def new_paper(like: Card, slug: str, family: str) -> Path:
    """Writes the folder of a new paper beside those that are there, and returns it.

    Args:
        like: the paper that it starts from.

    Raises:
        UserError: a name is not allowed or taken, `like` has no mini.yaml, or the disk is full.
    """
    if not _names_a_package(family):
        allowed = "up to 40 letters as in vision_ssl, no word of Python"
        raise UserError(f"--family '{family}' cannot name a family; allowed: {allowed}")
    target = like.root / "papers" / family / slug
    if target.exists():
        raise UserError(f"{target} exists already; choose another name")
    files = _files(like, slug, family)
    # Built aside and moved in whole: an interrupted `papers new` leaves no half a paper for the others to trip over.
    draft = like.root / "papers" / f".{slug}.draft"
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        for name, text in files.items():
            (draft / name).write_text(text, encoding="utf-8")
        target.parent.mkdir(exist_ok=True)
        draft.rename(target)
        (target.parent / "__init__.py").touch()
    except OSError as error:
        raise UserError(f"cannot write {error.filename or target}: {error.strerror}") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    paper = standing(load_card(target / "paper.yaml", like.root), Ledger(like.root / "results/runs"))
    if paper.trials:
        write_text(*report.page(paper, like.root / "results"))
    return target


def next_steps(slug: str, folder: str) -> list[str]:
    """What to do with the new folder, in order."""
    steps = {
        f"grep -rn EDIT: {folder}": "the places that wait for you, module.py first",
        "papers schema": "what every field of paper.yaml and of the recipes means",
        f"papers fit {slug}": "trains it once; --help lists its options",
        f"papers rerun {slug} --dry-run": "the runs that compare it with what it starts from",
        f"pytest tests/papers -k {slug}": "the promises that every paper keeps",
    }
    width = max(map(len, steps))
    return [f"{command.ljust(width)}  {about}" for command, about in steps.items()]


def _files(like: Card, slug: str, family: str) -> dict[str, str]:
    """The new folder's files by name."""
    recipe = load_recipe(like, "mini.yaml").data
    old = recipe["model"]["class_path"]
    new = f"papers.{family}.{slug}.module.{_class_name(slug)}"
    files = {
        "__init__.py": "",
        "module.py": copied(old, _class_name(slug), like),
        "paper.yaml": _card(like, slug, family, recipe),
        "README.md": _readme(like, slug),
    }
    for name in ("mini.yaml", "full.yaml"):
        path = like.folder / name
        if path.is_file():
            files[name] = _recipe(read_text(path), old, new, like.slug)
    return files


def _class_name(slug: str) -> str:
    return "".join(word.capitalize() for word in slug.split("_"))


def _title(slug: str) -> str:
    return slug.replace("_", " ").capitalize()


def _recipe(text: str, old: str, new: str, like: str) -> str:
    body = re.sub(r"\A(?:#.*\n)+", "", text)
    head = f"# EDIT: what is trained here, on what, and how long it takes. So far this is the recipe of {like}.\n"
    return head + re.sub(rf"(class_path:\s*){re.escape(old)}\b", rf"\g<1>{new}", body)


def _card(like: Card, slug: str, family: str, recipe: dict[str, Any]) -> str:
    title = _title(slug)
    parts = [
        f"# EDIT: the fields marked so. `papers schema` says what each of them means.\nslug: {slug}",
        f"title: {_quoted(title)}  # EDIT:",
        f"authors: [{_quoted(_author())}]  # EDIT:",
        f"year: {datetime.date.today().year}",
        "venue: unpublished\narxiv: null\ncode: null",
        f"family: {family}\nsurveyed: false",
        f"modalities: {json.dumps(list(like.modalities))}",
        f"idea: {_quoted(f'EDIT: one or two sentences. So far it is {like.slug} under another name.')}",
        f"loss: {_quoted(like.loss)}  # EDIT:",
        "published: []\ndifferences: []",
    ]
    if like.processes is not None:
        parts.append(_block(read_text(like.path), "processes"))
    parts.append(_experiments(like, slug, recipe))
    return "\n".join(part for part in parts if part) + "\n"


def _experiments(like: Card, slug: str, recipe: dict[str, Any]) -> str:
    metric, better = _metric(like)
    if metric is None:
        return "experiments: []  # EDIT: a comparison with its arms and claims"
    model = {"class_path": recipe["model"]["class_path"], "init_args": recipe["model"].get("init_args", {})}
    baseline = yaml.safe_dump({"model": model}, sort_keys=False, allow_unicode=True, width=110)
    indented = "".join(f"        {line}\n" for line in baseline.splitlines())
    return f"""
experiments:
  - name: main
    kind: compare
    recipe: mini.yaml
    arms:
      {slug}: {{label: {_quoted(_title(slug))}}}
      # What it starts from, with all that the recipe says: an arm of another class takes nothing over by itself.
      {like.slug}:
        label: {_quoted(like.title.partition(":")[0])}
{indented}    claims:
      # EDIT: what is to be shown, before anything runs; the first is the central one.
      - text: {_quoted(f"{_title(slug)} beats {like.title.partition(':')[0]}")}
        method: {slug}
        baseline: {like.slug}
        metric: {_quoted(metric)}
        better: {better}
        primary: true"""


def _metric(like: Card) -> tuple[str | None, str]:
    """What a comparison on the same benchmark is about: as the original's central claim, or the benchmark's own."""
    claims: list[Claim] = []
    for experiment in like.experiments:
        if isinstance(experiment, Comparison) and experiment.recipe == "mini.yaml":
            claims += sorted(experiment.claims, key=lambda claim: not claim.primary)
    if claims:
        return claims[0].metric, claims[0].better
    return catalog.benchmark_constant(like, "primary"), "higher"


def _readme(like: Card, slug: str) -> str:
    return f"""# {_title(slug)}

EDIT: who, where and when, with links.

**Idea.** EDIT: what it changes in [{like.title.partition(":")[0]}]({_link(like)}) and why.

**Loss.** EDIT: the formula in symbols.

**Run it.**

```bash
papers rerun {slug}     # the comparison below
papers fit {slug}       # one training; --help lists every argument
```

<!-- results: generated by `papers report` -->
<!-- /results -->
"""


def _link(like: Card) -> str:
    return f"../../{like.folder.parent.name}/{like.slug}/README.md"


def _block(text: str, key: str) -> str:
    """A top-level field of a card as it is written."""
    found = re.search(rf"^{key}:.*\n(?:[ #].*\n)*", text, flags=re.MULTILINE)
    return found[0].rstrip() if found else ""


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # JSON is YAML on one line


def _author() -> str:
    try:
        named = subprocess.run(["git", "config", "user.name"], capture_output=True, text=True, check=False)
        return named.stdout.strip() or "Unnamed author"
    except OSError:
        return "Unnamed author"
