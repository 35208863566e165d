"""What the tables show of their rows (`rows`), which `static/explorer.js` draws: filters, columns, first order."""


def _column(key: str, title: str, kind: str = "text", **more: object) -> dict[str, object]:
    """A column of what rows hold under `key`.

    Args:
        kind: how the script shows it: text, number, percent, probability, verdict, paper, shown or timed.
        more: `small`, the key of what stands below it in small print; `hide`, where there is no room for it: on a
            "phone", or on all that is "narrow".
    """
    return {"key": key, "title": title, "kind": kind, **more}


CLAIMS = {
    "filters": ["family", "verdict", "kind", "benchmark", "modality", "year", "paper"],
    "order": [["effect", "desc"]],
    "columns": [
        _column("paper", "paper", "paper"),
        _column("claim", "claim", small="metric"),
        _column("verdict", "verdict", "verdict"),
        _column("effect", "effect, % of headroom", "percent"),
        _column("difference", "difference [interval]", hide="narrow"),
        _column("q", "q", "probability", hide="phone"),
        _column("published", "published gain, % of what was left", "percent", small="printed", hide="phone"),
        _column("seeds", "seeds", "number", hide="narrow"),
        _column("benchmark", "benchmark", hide="narrow"),
        _column("year", "year", hide="narrow"),
    ],
}
PAPERS = {
    "filters": ["family", "verdict", "modality", "year", "benchmark", "surveyed"],
    "order": [],
    "columns": [
        _column("paper", "name", "paper"),
        _column("title", "paper", small="venue"),
        _column("verdict", "central claim", "verdict"),
        _column("effect", "effect, % of headroom", "percent"),
        _column("q", "q", "probability", hide="phone"),
        _column("claims", "claims", "number", hide="narrow"),
        _column("family", "family", hide="narrow"),
        _column("benchmark", "benchmarks", hide="narrow"),
        _column("year", "year", hide="narrow"),
    ],
}
LEADERBOARDS = {
    "filters": ["benchmark", "family", "paper"],
    "order": [],
    "first": "benchmark",
    "columns": [
        _column("rank", "rank", "number"),
        _column("ranks", "may be", hide="narrow"),
        _column("method", "method"),
        _column("paper", "paper", "paper"),
        _column("value", "mean (standard deviation)", "shown", small="metric"),
        _column("seeds", "seeds", "number", hide="narrow"),
        _column("steps", "steps", "number", hide="narrow"),
        _column("seconds", "time a run", "timed", hide="narrow"),
        _column("benchmark", "benchmark", hide="narrow"),
    ],
}
