"""``python -m fastsm`` is the command ``fastsm``."""

import sys

from fastsm._command import main

if __name__ == "__main__":
    sys.exit(main())
