"""The command line: `viska AUDIO...`, and the commands of `viska.cli.commands`."""

from viska.cli.main import main as main
