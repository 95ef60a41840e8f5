"""`python -m viska`: the command line."""

import sys

from viska.cli import main

sys.exit(main())
