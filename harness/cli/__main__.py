"""`python -m harness.cli` is `papers`."""

import sys

from harness.cli import main

sys.exit(main())
