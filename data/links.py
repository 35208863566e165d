"""Fetches a file from where pip found it, with the certificates and the proxy that pip is told to use."""

import ast
import http.client
import os
import re
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

from common.lines import read_lines, split_lines
from data import children

_LINK = re.compile(r"Found link (\S+?),? (?:\(from .*)?version: ")
_TIMEOUT = 60.0


class Unreachable(Exception):
    """The file could not be fetched; one line says why."""


def in_log(log: Path, filename: str) -> list[str]:
    """The addresses of a file that pip notes in its log: on a web server, or in a folder as file://."""
    found = [urldefrag(match[1]).url for line in read_lines(log) if (match := _LINK.search(line))]
    return [url for url in dict.fromkeys(found) if unquote(urlsplit(url).path).rpartition("/")[2] == filename]


def settings(folder: Path) -> dict[str, str]:
    """What pip is told by its files and the environment: key without section -> value, such as "cert" or "proxy"."""
    command = [sys.executable, "-m", "pip", "config", "list", "--disable-pip-version-check"]
    # global.cert='/a/b.pem' and :env:.cert='/a/b.pem'; the environment is printed in no order of precedence.
    rows = [line.partition("=")[::2] for line in split_lines(children.run(command, folder).stdout) if "=" in line]
    rows.sort(key=lambda row: row[0].startswith(":env:"))
    return {key.rpartition(".")[2]: str(ast.literal_eval(value)) for key, value in rows if value[:1] in "'\""}


def download(url: str, target: Path, size: int) -> None:
    """Writes the file at `url` to `target`, and one byte more than `size` at most.

    Raises:
        Unreachable: no answer, or an address whose password pip keeps to itself.
    """
    if "****" in urlsplit(url).netloc:
        raise Unreachable("the package index asks for a password, which pip does not hand on")
    told = settings(target.parent) if urlsplit(url).scheme != "file" else {}
    handlers: list[urllib.request.BaseHandler] = []
    if told.get("proxy"):
        handlers.append(urllib.request.ProxyHandler({"http": told["proxy"], "https": told["proxy"]}))
    try:
        context = ssl.create_default_context(cafile=told.get("cert") or os.environ.get("REQUESTS_CA_BUNDLE") or None)
        handlers.append(urllib.request.HTTPSHandler(context=context))
        with urllib.request.build_opener(*handlers).open(url, timeout=_TIMEOUT) as answer:
            content = answer.read(size + 1)
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise Unreachable(f"{urlsplit(url).netloc or url}: {' '.join(str(reason).split())}") from error
    target.write_bytes(content)
