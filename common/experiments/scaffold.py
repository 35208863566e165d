"""`papers new`: a paper's folder made from another's. Valid at once, and nothing outside the new folder changes."""

import datetime
import json
import keyword
import re
import shutil
import subprocess
from pathlib import Path

import yaml

from common.errors import UserError

SLUG = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
CODE = {".py", ".yaml", ".yml"}
FENCE = re.compile(r"^```.*?^```\n?", re.MULTILINE | re.DOTALL)


def check_slug(slug: str, taken: set[str]) -> None:
    """Raises UserError unless `slug` can name a new folder and Python package."""
    if not SLUG.fullmatch(slug) or keyword.iskeyword(slug) or len(slug) > 40:
        raise UserError(f"'{slug}' cannot name a paper; allowed: lower_case words and digits, as in my_method")
    if slug in taken:
        raise UserError(f"'{slug}' is taken already; choose another name")


def new_paper(root: Path, source: Path, slug: str, family: str) -> Path:
    """Copies the folder `source` to root/papers/family/slug under the new names and returns the new folder.

    The main class (the one that mini.yaml names) is renamed after the slug. The card keeps the experiments and loses
    what belongs to the original alone: identity, published numbers, differences between paper and code.
    """
    if not SLUG.fullmatch(family):
        raise UserError(f"--family '{family}' cannot name a family; allowed: lower_case words, as in vision_ssl")
    target = root / "papers" / family / slug
    if target.exists():
        raise UserError(f"{target} exists already; choose another name")
    old_class = main_class(source / "mini.yaml", f"papers.{source.parent.name}.{source.name}")
    new_class = "".join(word.capitalize() for word in slug.split("_"))

    def renamed(text: str) -> str:
        text = text.replace(f"papers.{source.parent.name}.{source.name}.", f"papers.{family}.{slug}.")
        text = re.sub(rf"\b(papers (?:\w+ )+){re.escape(source.name)}\b", rf"\g<1>{slug}", text)
        return re.sub(rf"\b{re.escape(old_class)}\b", new_class, text) if old_class else text

    # Built aside and moved in whole: an interrupted `papers new` leaves no half a paper for the others to trip over.
    draft = target.with_name(f".{slug}.draft")
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        for path in sorted(source.rglob("*")):
            place = draft / path.relative_to(source)
            if any(part.startswith((".", "__pycache__")) for part in path.relative_to(source).parts):
                continue
            if path.is_dir():
                place.mkdir(exist_ok=True)
            elif path.suffix in CODE:
                place.write_text(renamed(path.read_text(encoding="utf-8")), encoding="utf-8")
            elif path.name != "README.md":
                shutil.copyfile(path, place)
        card = draft / "paper.yaml"
        card.write_text(new_card(card.read_text(encoding="utf-8"), slug, family, source.name), encoding="utf-8")
        readme = (source / "README.md").read_text(encoding="utf-8")
        (draft / "README.md").write_text(new_readme(renamed(readme), slug, source.name), encoding="utf-8")
        draft.rename(target)
    except OSError as error:
        raise UserError(f"cannot write {error.filename or target}: {error.strerror}") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


def main_class(recipe: Path, package: str) -> str | None:
    """The class of the recipe's model if it is defined in `package`."""
    path = (yaml.safe_load(recipe.read_text(encoding="utf-8")) or {}).get("model", {}).get("class_path", "")
    return path.rpartition(".")[2] if path.startswith(package + ".") else None


def new_card(text: str, slug: str, family: str, like: str) -> str:
    """Rewrites the top-level keys of a card that speak of the original; the experiments stay as they are written."""
    title = slug.replace("_", " ").capitalize()
    fresh = {
        "slug": slug,
        "title": title,
        "authors": [_author()],
        "year": datetime.date.today().year,
        "venue": "unpublished",
        "arxiv": None,
        "url": None,
        "code": None,
        "family": family,
        "surveyed": False,
        "idea": f"{title} starts out the same as {like}, from which it was copied.",
        "published": [],
        "differences": [],
    }
    blocks = re.split(r"^(?=[A-Za-z_]+:)", text, flags=re.MULTILINE)
    for i, block in enumerate(blocks):
        key = block.partition(":")[0]
        if key in fresh:
            blocks[i] = f"{key}: {json.dumps(fresh[key], ensure_ascii=False)}\n"  # JSON is YAML on one line
        elif key == "experiments":
            # A claim may point at a published number; those numbers belong to the original.
            blocks[i] = re.sub(r",\s*published:[^,}\n]*(?=[,}])|^\s+published:.*\n", "", block, flags=re.MULTILINE)
    return "".join(blocks)


def new_readme(text: str, slug: str, like: str) -> str:
    """Keeps the headings, commands and generated block of the page; the prose in between told of the original."""
    title = slug.replace("_", " ").capitalize()
    parts = [f"# {title}\n\nStarts out the same as {like}; this page says what it changes.\n"]
    body = re.sub(r"\A.*?(?=^## )", "", text, count=1, flags=re.MULTILINE | re.DOTALL)
    for section in re.split(r"^(?=## )", body, flags=re.MULTILINE):
        if not section.startswith("## "):
            continue
        heading = section.partition("\n")[0]
        kept = [match[0].rstrip() for match in FENCE.finditer(section)] if "results:begin" not in section else []
        if "results:begin" in section:
            kept.append("<!-- results:begin -->\n<!-- results:end -->")
        parts.append("\n\n".join([heading, *kept]) + "\n" if kept else f"{heading}\n\nAs in {like}.\n")
    return "\n".join(parts)


def _author() -> str:
    try:
        named = subprocess.run(["git", "config", "user.name"], capture_output=True, text=True, check=False)
        return named.stdout.strip() or "Unnamed author"
    except OSError:
        return "Unnamed author"
