"""Draw the page of a run anew: ``python -m vis.report RUN_DIR``."""

import sys

from dnnlib import cli
from vis.report.page import main

if __name__ == "__main__":
    sys.exit(cli.run_script(main))
