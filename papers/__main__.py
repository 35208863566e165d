"""`python -m papers` is the command `papers`, which is found as it was installed: no paper knows what runs it."""

import sys
from importlib.metadata import entry_points

if __name__ == "__main__":
    command = next(iter(entry_points(group="console_scripts", name="papers")), None)
    sys.exit("papers: the package is not installed (pip install -e .)" if command is None else command.load()())
