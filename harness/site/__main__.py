"""`python -m harness.site`: builds the site and says where it begins."""

import argparse
import sys
import time
from pathlib import Path

from common.errors import UserError
from harness.files import workplace
from harness.recipes.catalog import REPOSITORY
from harness.site.build import build, complain, weigh


def main() -> int:
    """Builds it and returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m harness.site", description=__doc__)
    place = workplace(REPOSITORY) / "build/site"
    parser.add_argument("--out", type=Path, default=place, help="where to (default: build/site)")
    parser.add_argument("--results", type=Path, default=REPOSITORY / "results", help="the records (default: results)")
    given = parser.parse_args()
    begun = time.perf_counter()
    try:
        start, warnings = build(
            REPOSITORY, given.results, given.out.resolve(), lambda text: print(text, file=sys.stderr)
        )
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    complain(warnings)
    weight = weigh(start.parent, "claims.html") / 1e6
    print(f"built in {time.perf_counter() - begun:.0f} s; the explorer takes {weight:.1f} MB", file=sys.stderr)
    print(start)
    return 0


if __name__ == "__main__":
    sys.exit(main())
