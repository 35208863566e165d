"""The command line `papers`."""

from harness.cli.parser import main

__all__ = ["main"]
