"""The site's pages as Markdown: the repository's own, and those made of cards and records."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

import jinja2

from common.lines import read_text, split_lines
from harness.pages import compare, report
from harness.records.floors import Floor
from harness.records.standing import Standing, tally, tally_primary
from harness.site import rows
from harness.site.drawn import Picture
from harness.site.layouts import CLAIMS, LEADERBOARDS, PAPERS
from harness.site.links import Links

# Where the site says more than the repository's page does.
MOVED = {"results/README.md": "claims.md", "results/benchmarks.md": "leaderboards.md"}
PROSE = (
    "README.md",
    "CONTRIBUTING.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "docs/guides/*.md",
    "data/README.md",
    "data/checkpoints/*/README.md",
    "results/bench/*.md",
)
"""Pages that are taken as they are."""
VERDICTS = ("reproduced", "contradicted", "no difference", "undecided", "no test", "not run", "holds", "violated")


class Sources:
    """All pages by their places.

    Args:
        root: the repository.
        results: its records.
        papers: where they stand.
        floors: what needs no learning.
        pictures: by name: "map", "family-NAME", and the papers' slugs, alone and with "-curves" and "-losses".
    """

    def __init__(
        self,
        root: Path,
        results: Path,
        papers: Sequence[Standing],
        floors: Sequence[Floor],
        pictures: Mapping[str, Picture],
    ) -> None:
        self.root, self.results, self.papers, self.floors, self.pictures = root, results, papers, floors, pictures
        self.prose = [str(path.relative_to(root)) for pattern in PROSE for path in sorted(root.glob(pattern))]
        self.families = {name: list(of) for name, of in groupby(papers, key=lambda paper: paper.card.family)}
        moved = MOVED | {f"results/families/{name}.md": f"families/{name}.md" for name in self.families}
        own = ["index.md", "papers.md", *moved.values(), *(self.place(paper) for paper in papers)]
        self.links = Links(root, moved, [*self.prose, *own])
        self.environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        self.environment.filters |= {"line": lambda text: " ".join(str(text).split())}
        self.environment.globals |= {
            "picture": self.picture,
            "place": self.place,
            "VERDICTS": VERDICTS,
            "known": self.prose,
            "speed": [place for place in self.prose if place.startswith("results/")],
        }

    def pages(self) -> Iterator[tuple[str, str]]:
        """Places and texts. After it `links.files` are the files that pages show or lead to."""
        shown = [paper for paper in self.papers if paper.records]
        q = report.discovery_rates(shown)
        counts = {name: tally_primary(of) for name, of in self.families.items()}
        central, claims = tally_primary(self.papers), tally(self.papers)
        yield "index.md", self._render("index.md.j2", counts=counts, all=central, claims=claims)
        yield "claims.md", self._table("claims.md.j2", CLAIMS, rows.claims(self.papers, q, self.floors))
        yield "papers.md", self._table("papers.md.j2", PAPERS, rows.listed(self.papers, q, self.floors))
        ranked = rows.ranked(compare.rankings(shown, self.floors), self.papers)
        yield "leaderboards.md", self._table("leaderboards.md.j2", LEADERBOARDS, ranked)
        for name, of in self.families.items():
            yield f"families/{name}.md", self._render("family.md.j2", family=name, papers=of, counts=tally(of))
        for place in self.prose:
            yield place, self.links.rewrite(read_text(self.root / place), place)
        for paper in self.papers:
            yield self.place(paper), self._paper(paper)

    def place(self, paper: Standing) -> str:
        """Where a paper's page is: where its README is in the repository."""
        return f"papers/{paper.card.family}/{paper.card.slug}/README.md"

    def picture(self, name: str) -> str:
        """The directives that show a picture, light or dark as the page is; nothing where there is none."""
        if name not in self.pictures:
            return ""
        alt = json.dumps(self.pictures[name].alt, ensure_ascii=False)  # quoted as YAML reads it
        one = "```{{image}} /figures/{name}-{theme}.svg\n:class: only-{theme} picture\n:alt: {alt}\n```"
        return "\n\n".join(one.format(name=name, theme=theme, alt=alt) for theme in ("light", "dark"))

    def _paper(self, paper: Standing) -> str:
        """A paper's README with its results as they are now, what its card says beside, and its module."""
        place, folder = self.place(paper), paper.card.folder
        text = ""
        if (folder / "README.md").is_file():
            text = report.page(paper, self.results)[1] if paper.trials else read_text(folder / "README.md")
        head, _, rest = (text or f"# {paper.card.title}\n").partition("\n")
        # The figures of `papers report`: ours of the claims stands above the block, the curves where they were.
        slug = re.escape(paper.card.slug)
        rest = re.sub(rf"!\[[^\]]*\]\([^)]*figures/{slug}\.svg\)", "", rest)
        curves = self.picture(f"{paper.card.slug}-curves")
        rest = re.sub(rf"!\[[^\]]*\]\([^)]*figures/{slug}\.curves\.svg\)", lambda _: curves, rest)
        body = self.links.rewrite(rest, place)
        module, length = folder / "module.py", 0
        if module.is_file():
            self.links.files.add(str(module.relative_to(self.root)))
            length = len(split_lines(read_text(module)))
        strip = self._render("strip.md.j2", paper=paper)
        picture = self.picture(paper.card.slug)
        before, mark, after = body.partition("<!-- results:")
        if mark:
            picture = f"## Results\n\n{self._render('reading.md.j2')}\n\n{picture}\n\n" if picture else "## Results\n\n"
            before = re.sub(r"## Results\s*$", "", before)
            body = f"{before}\n{picture}{mark}{after}"
        losses = self.picture(f"{paper.card.slug}-losses")
        card = self._render("card.md.j2", card=paper.card, lines=length, losses=losses)
        return f"{head}\n\n{strip}\n{body}\n\n{card}"

    def _render(self, template: str, **values: object) -> str:
        return self.environment.get_template(template).render(papers_=self.papers, **values)

    def _table(self, template: str, layout: dict[str, object], content: Iterator[dict[str, object]]) -> str:
        data = json.dumps(layout | {"rows": list(content)}, ensure_ascii=False, separators=(",", ":"))
        return self._render(template, data=data.replace("</", "<\\/"))  # it would end the script that holds the data
