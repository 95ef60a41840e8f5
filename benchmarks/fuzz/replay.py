"""All inputs that were found, once more under coverage.py: `python -m benchmarks.fuzz.replay FOLDER REPORT.json`."""

import logging
import sys
import warnings
from pathlib import Path

import coverage


def main() -> None:
    """Run every target over its corpus, and write what coverage.py says of the branches of the package."""
    folder, report = Path(sys.argv[1]), sys.argv[2]
    measure = coverage.Coverage(branch=True, source_pkgs=["viska"], data_file=None)
    measure.start()
    from benchmarks.fuzz.targets import TARGETS  # measured too, so that it may not be loaded before

    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    for name, target in TARGETS.items():
        for path in sorted((folder / name / "corpus").glob("*")):
            try:
                target.call(path.read_bytes())
            except target.allowed:
                pass
            except Exception as error:
                print(f"{name}: {path.name}: {error!r}", file=sys.stderr)
    measure.stop()
    measure.json_report(outfile=report)


if __name__ == "__main__":
    main()
