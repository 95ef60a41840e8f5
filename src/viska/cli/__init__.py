"""The command line: `viska AUDIO...` and `viska models ...`."""

from viska.cli.main import main as main
