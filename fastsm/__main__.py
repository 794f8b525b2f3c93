"""``python -m fastsm`` is the command ``fastsm``."""

from __future__ import annotations

import sys

from fastsm._command import main

if __name__ == "__main__":
    sys.exit(main())
