"""The whole site, built of a small house of papers, and what a person finds on its pages."""

import html.parser
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest

from common.experiments.verdict import ClaimResult, Verdict
from harness.site.build import build, weigh
from harness.site.links import outside
from tests.harness import house

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

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


BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")


@pytest.fixture(scope="module")
def browser() -> Iterator["Chrome"]:
    """Headless Chromium with a log of its console and of what it asks for."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="pip install -e '.[browser]'")
    if BROWSER is None or DRIVER is None:
        pytest.skip("no Chromium with its driver here (apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield chrome
    chrome.quit()


def visit(browser: "Chrome", site: Path, place: str, width: int = 1200, theme: str = "light") -> None:
    """Opens a page; fails if the console says anything, or if something is asked for that does not lie on the disk."""
    browser.get("about:blank")  # the same page with another filter would not be loaded again
    for log in ("browser", "performance"):
        browser.get_log(log)
    browser.set_window_size(width, 900)
    browser.get(f"{site.as_uri()}/{place}")
    browser.execute_script("document.body.dataset.theme = arguments[0]", theme)
    events = [json.loads(line["message"])["message"] for line in browser.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert asked and not [url for url in asked if not url.startswith(("file:", "data:"))]
    assert browser.get_log("browser") == []


def cells(browser: "Chrome", column: str) -> list[str]:
    """What a column of the table shows, from the top."""
    return [cell.text for cell in browser.find_elements("css selector", f".explorer td.{column}")]


@pytest.mark.parametrize("verdict", ["contradicted", "reproduced"])
def test_a_filter_shows_the_rows_on_record(made, browser: "Chrome", verdict: str) -> None:
    root, site, _ = made
    visit(browser, site, f"claims.html#verdict={verdict}")
    expected = [r.claim.text for p in house.papers(root) for r in p.results if r.verdict is Verdict(verdict)]
    shown = cells(browser, "claim")
    assert len(shown) == len(expected) == 1 and expected[0] in shown[0]


def test_search_finds_a_paper(made, browser: "Chrome") -> None:
    visit(browser, made[1], "search.html?q=Alpha")
    found = browser.find_elements("css selector", "#search-results a")
    assert any("papers/toys/alpha/README.html" in str(one.get_attribute("href")) for one in found)


@pytest.mark.parametrize("by", ["click", "keyboard"])
def test_a_leaderboard_sorts(made, browser: "Chrome", by: str) -> None:
    visit(browser, made[1], "leaderboards.html")
    expected = cells(browser, "method")
    assert expected == ["Alpha", "Beta", "chance"]
    for order in (sorted(expected), sorted(expected, reverse=True)):
        header = browser.find_element("css selector", "th.method [role=button]")
        header.click() if by == "click" else header.send_keys("\ue007")  # Enter
        assert cells(browser, "method") == order
    assert browser.find_element("css selector", "th.method").get_attribute("aria-sort") == "descending"


def test_filters_and_table_are_reached_by_the_tabulator(made, browser: "Chrome") -> None:
    visit(browser, made[1], "claims.html")
    reached = []
    for _ in range(60):
        browser.switch_to.active_element.send_keys("\ue004")  # Tab
        here = browser.switch_to.active_element
        reached.append(here.get_attribute("id") or here.get_attribute("aria-label") or here.text)
    assert {"filter-verdict", "filter-family", "Table"} <= set(reached)


PLACES = ["index.html", "claims.html", "papers.html", "leaderboards.html", "papers/toys/alpha/README.html"]
PLACES += ["families/toys.html", "search.html", "docs/guides/one.html"]


@pytest.mark.parametrize("place", PLACES)
def test_a_page_is_accessible_in_both_themes_and_fits_a_phone(made, browser: "Chrome", place: str) -> None:
    axe = pytest.importorskip("axe_core_python.selenium", reason="pip install -e '.[browser]'").Axe()
    for width, theme in ((1200, "light"), (1200, "dark"), (400, "light")):
        visit(browser, made[1], place, width, theme)
        found = axe.run(browser)["violations"]
        # The theme's page of search has no heading of the first level.
        assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["id"] != "page-has-heading-one"] == []
        assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth"), (width, "too wide")
