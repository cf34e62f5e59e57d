"""`python -m gateway`: the `isthmus` command, by the Python that runs now."""

from __future__ import annotations

import sys

from gateway.cli import main

sys.exit(main())
