"""The standard library of Python 3.11 as source, from the npm package pyodide: the same text on every machine."""

from data.sources.base import Source

PYODIDE = Source(
    name="pyodide",
    title="standard library of Python 3.11.3 as source, 491 modules",
    client="npm",
    package="pyodide",
    version="0.25.1",
    filename="pyodide-0.25.1.tgz",
    sha256="d301c5b18b888ec7ad2bf616fcdd14eb36f4c9f41c513f89fcfcc3455d447a63",
    size=5_464_860,
    licence="PSF-2.0 (standard library); MPL-2.0 (package)",
    citation="Python Software Foundation, The Python standard library 3.11; Pyodide contributors",
    notes="The interpreter's own library would do, but differs from version to version. A few modules that a browser "
    "cannot run are missing (tkinter, curses, idlelib, lib2to3).",
)
SOURCES = (PYODIDE,)


def read_standard_library(data_root: str | None = None) -> dict[str, str]:
    """path -> source of every module, such as "json/decoder.py", in the order of the paths; Pyodide's own are not."""
    files = PYODIDE.open(data_root).inner("package/python_stdlib.zip").files(suffix=".py")
    return {
        path: content.decode("utf-8", errors="replace")
        for path, content in sorted(files)
        if path.split("/")[0] not in ("pyodide", "_pyodide", "site-packages")
    }
