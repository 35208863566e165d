"""Code search in Python's standard library: from the first paragraph of a docstring to its function."""

import ast
import json

import torch

from common.batches import TextPairs
from common.random import uniform
from common.table import take
from data.benchmarks.bases.duplicates import alike, first_of_each, word_runs
from data.benchmarks.bases.retrieval import TextRetrieval
from data.cache import cached_tensors
from data.sources.pyodide import PYODIDE, read_standard_library

SIZES = {"test": 1000, "val": 300}
"""Functions in the scored splits, of whole packages; all others are for training."""
LIKENESS = 0.5
"""Of two functions that share half of their runs of five words, one is left out."""


class Docstrings(TextRetrieval):
    """Docstrings and the functions they stand in, without them: 2,551 train, 300 validation, 1,000 test.

    The library's packages and top-level modules are dealt out whole; a module and its twin with an underscore (such as
    `_collections_abc` and `collections`) go together. No two functions have the same first paragraph, and none is
    nearly the same as another. Functions keep their names, as in CodeSearchNet (Husain et al. 2019).

    Arguments as in `TextRetrieval`.
    """

    name = "docstrings"
    primary = "ndcg@10/gallery1000"
    sources = (PYODIDE,)

    def load(self) -> dict[str, TextPairs]:
        found = _distinct_functions(self.data_root)
        pairs = TextPairs(
            [docstring for _, docstring, _ in found],
            [function for _, _, function in found],
            torch.arange(len(found)),
        )
        # Packages in a fixed random order fill the test split, then the validation split.
        names = sorted({package for package, _, _ in found})
        place = dict(zip(names, uniform(torch.arange(len(names)), 1, 8).flatten().tolist(), strict=True))
        drawn = torch.tensor([place[package] for package, _, _ in found])
        order, splits, start = drawn.argsort(stable=True), {}, 0
        for split, size in SIZES.items():
            splits[split] = take(pairs, order[start : start + size])
            # What is left of the last package would be a stranger to no other split.
            start = int((drawn <= drawn[order[start + size - 1]]).sum())
        return {"train": take(pairs, order[start:]), **splits}


def _distinct_functions(data_root: str | None) -> list[tuple[str, str, str]]:
    """(package, docstring, function) of all functions that are kept, in the order of the modules."""

    def build() -> dict[str, torch.Tensor]:
        found = {}
        for path, source in read_standard_library(data_root).items():
            package = path.split("/")[0].removesuffix(".py").removesuffix("_abc").strip("_")
            for docstring, function in functions(source):
                found.setdefault(docstring.lower(), (package, docstring, function))
        rows = list(found.values())
        rows = [rows[i] for i in first_of_each(alike([word_runs(function) for _, _, function in rows], LIKENESS))]
        return {"json": torch.frombuffer(bytearray(json.dumps(rows).encode()), dtype=torch.uint8)}

    # Parsing the library takes seconds, so what comes of it is kept.
    stored = cached_tensors("docstrings", build, (PYODIDE,), version=1, data_root=data_root, likeness=LIKENESS)
    return [tuple(row) for row in json.loads(stored["json"].numpy().tobytes())]


def functions(source: str) -> list[tuple[str, str]]:
    """(first paragraph of the docstring, the function without it) of every function that has both, with single blanks.

    Both are cut out of the text as it stands, so they are the same under every version of Python that can parse it.
    """
    lines = source.encode().splitlines(keepends=True)  # positions in the syntax tree count bytes
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or len(node.body) < 2:
            continue
        docstring = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
        if len(docstring.split()) < 4:
            continue
        text, end = node.body[0], node.end_lineno
        head = b"".join(lines[node.lineno - 1 : text.lineno - 1]) + lines[text.lineno - 1][: text.col_offset]
        tail = lines[text.end_lineno - 1][text.end_col_offset :] + b"".join(lines[text.end_lineno : end])
        found.append((docstring, " ".join((head + tail).decode().split())))
    return found
