"""The whole site, built of a small house of papers, and what a person finds on its pages."""

import html.parser
import json
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import unquote

import pytest

from common.experiments.verdict import ClaimResult, Verdict
from harness.site.build import build, weigh
from harness.site.links import outside
from tests.harness import house

for library in ("sphinx", "myst_parser", "furo", "itables", "sphinx_copybutton"):
    pytest.importorskip(library, reason="the site's libraries are not here: pip install -e '.[site]'")
# Of the libraries among themselves.
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")

README = """\
# House

[The rule](#the-rule), [Alpha](papers/toys/alpha), [its results](results/README.md), [code](toyhouse.py),
[a guide](docs/guides/one.md).

## The rule

Fixed.
"""


@pytest.fixture(scope="module")
def made(recorded_house: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[str]]:
    """The house, its site and what Sphinx warned of; of the API the part that loads quickly."""
    root = shutil.copytree(recorded_house, tmp_path_factory.mktemp("site") / "house")
    house.write(root / "README.md", README)
    house.write(root / "docs/guides/evidence.md", "# Evidence\n\n## The rule\n\nFixed.\n")
    house.write(root / "docs/guides/one.md", "# One\n\n[Back](../../README.md#the-rule), `[no](link.md)`.\n")
    house.write(root / "papers/toys/alpha/module.py", "ALPHA = 1\n")
    start, warnings = build(root, root / "results", root / "build", lambda text: None, ("common.experiments",))
    return root, start.parent, warnings


def data(site: Path, page: str) -> dict:
    """What the table of a page is made of."""
    found = re.search(
        r'<script type="application/json" class="data">(.*?)</script>', (site / page).read_text(), re.DOTALL
    )
    assert found
    return json.loads(found[1])


def test_nothing_is_amiss(made) -> None:
    assert made[2] == []


def test_every_claim_and_property_on_record_is_a_row(made) -> None:
    root, site, _ = made
    results = [(p.card.slug, r) for p in house.papers(root) for r in p.results]
    expected = [
        (slug, r.claim.text if isinstance(r, ClaimResult) else r.experiment.claim, str(r.verdict), len(r.seeds))
        for slug, r in results
    ]
    rows = data(site, "claims.html")["rows"]
    assert [(row["paper"], row["claim"], row["verdict"], row["seeds"]) for row in rows] == expected
    assert {row["verdict"] for row in rows} == {"reproduced", "contradicted", "holds"}


def test_a_row_tells_effect_and_gains_in_percent(made) -> None:
    central, lower, bound = data(made[1], "claims.html")["rows"]
    # 0.92 against 0.82 above a floor of 0.5: a fifth of the headroom, and 10 of the 18 that Beta had left.
    assert central["effect"] == pytest.approx(20) and central["gain"] == pytest.approx(55.56)
    assert central["published"] == pytest.approx(15) and central["printed"] == "90 → 91.5 top-1 (%), Coins-1M"
    assert central["kind"] == "central" and central["q"] == central["p"] < 0.05
    assert lower["effect"] is None and lower["q"] is None and lower["metric"] == "loss, lower is better"
    assert bound["difference"] == "2e-09 of 1e-06 allowed"


def test_every_filter_has_what_it_filters_by(made) -> None:
    for page in ("claims.html", "papers.html", "leaderboards.html"):
        found = data(made[1], page)
        keys = {*found["filters"], *(column["key"] for column in found["columns"])}
        assert found["rows"] and all(keys <= row.keys() for row in found["rows"])


def test_papers_and_leaderboards_are_those_on_record(made) -> None:
    papers = {row["paper"]: row for row in data(made[1], "papers.html")["rows"]}
    assert papers["alpha"]["verdict"] == "reproduced" and papers["beta"]["verdict"] == "—"
    places = [(row["rank"], row["method"], row["paper"]) for row in data(made[1], "leaderboards.html")["rows"]]
    assert places == [(1, "Alpha", "alpha"), (2, "Beta", "alpha"), (None, "chance", "floor")]


class Page(html.parser.HTMLParser):
    """The places that a page has and those that it leads to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.leads: set[str] = set()
        self.pictures: list[dict[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids |= {value for key in ("id", "name") if (value := found.get(key))}
        self.leads |= {value for key in ("href", "src") if (value := found.get(key))}
        if tag == "img":
            self.pictures.append(found)


def test_links_resolve(made) -> None:
    pages = {path: Page(path.read_text()) for path in made[1].rglob("*.html")}
    lost = []
    for path, page in pages.items():
        for lead in page.leads:
            place, _, anchor = lead.partition("#")
            place = unquote(place.partition("?")[0])
            if re.match(r"[a-z]+:|//", lead):
                continue
            target = (path.parent / place).resolve() if place else path
            # "#verdict=holds" is read by the explorer; any other anchor is a place on the page.
            anchored = anchor and "=" not in anchor and target in pages
            if not target.is_file() or (anchored and anchor not in pages[target].ids):
                lost.append((path.name, lead))
    assert len(pages) > 10 and not lost


def test_the_repository_s_links_lead_to_pages(made) -> None:
    text = (made[1] / "README.html").read_text()
    leads = Page(text.partition("<article")[2].partition("</article>")[0]).leads  # without the site's own navigation
    assert {"papers/toys/alpha/README.html", "claims.html", "docs/guides/one.html", "#the-rule"} <= leads
    assert any(lead.endswith("toyhouse.py") for lead in leads)


def test_no_page_asks_a_network_for_anything(made) -> None:
    files = [path for path in made[1].rglob("*") if path.suffix in {".html", ".css"}]
    assert not {path.name: found for path in files if (found := [*outside(path.read_text())])}


@pytest.mark.parametrize(
    "text",
    [
        '<script src="https://example.org/a.js"></script>',
        "<link rel=stylesheet href=//example.org/a.css>",
        '<img alt="" src="http://example.org/a.png">',
        "@import 'https://example.org/a.css';",
        "src: url(https://example.org/a.woff2)",
    ],
)
def test_an_outside_request_is_seen(text: str) -> None:
    assert len([*outside(text)]) == 1
    assert not [*outside('<a href="https://example.org">there</a>')]


def test_pictures_have_alternatives_and_both_themes(made) -> None:
    page = Page((made[1] / "papers/toys/alpha/README.html").read_text())
    shown = [picture for picture in page.pictures if "picture" in str(picture.get("class"))]
    assert [re.search("only-(light|dark)", str(one["class"]))[1] for one in shown] == ["light", "dark"]
    assert all("Alpha beats Beta (primary): reproduced, +0.100" in str(one["alt"]) for one in shown)
    assert all(picture.get("alt") for picture in page.pictures)


def test_the_heaviest_page_stays_light(made) -> None:
    assert 500_000 < weigh(made[1], "claims.html") < 1_500_000


def test_the_api_shows_docstrings(made) -> None:
    text = (made[1] / "api/common.experiments.html").read_text()
    assert 'id="common.experiments.paired.interval"' in text and "Mean and Student" in text


BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)


def seen(page: str) -> tuple[str, str]:
    """A page as headless Chromium has it once its scripts have run, and what it said on the console."""
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0"]
    run = subprocess.run([*command, "--virtual-time-budget=5000", "--dump-dom", page], capture_output=True, text=True)
    return run.stdout, "\n".join(line for line in run.stderr.splitlines() if "CONSOLE" in line)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here (apt-get install chromium)")
@pytest.mark.parametrize("verdict", ["contradicted", "reproduced"])
def test_a_filter_shows_the_rows_on_record(made, verdict: str) -> None:
    root, site, _ = made
    text, console = seen(f"{(site / 'claims.html').as_uri()}#verdict={verdict}")
    body = text.partition("<tbody")[2].partition("</tbody>")[0]
    expected = [r for p in house.papers(root) for r in p.results if r.verdict is Verdict(verdict)]
    assert body.count("<tr") == len(expected) == 1 and expected[0].claim.text in body
    assert console == ""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here (apt-get install chromium)")
def test_search_finds_a_paper(made) -> None:
    text, console = seen(f"{(made[1] / 'search.html').as_uri()}?q=Alpha")
    assert "papers/toys/alpha/README.html" in text.partition('id="search-results"')[2]
    assert console == ""
