"""``python -m training.report``: measure the bundles and write the model report."""

from __future__ import annotations

import sys

from training.report.build import main

if __name__ == "__main__":
    sys.exit(main())
