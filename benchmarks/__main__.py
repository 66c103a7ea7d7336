"""Run the benchmark suite: `python -m benchmarks --help`."""

import signal
import sys

from benchmarks.suite.command import main
from medseg.errors import ExitCode

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(ExitCode.TERMINATED))  # ends the row under way, too
    sys.exit(main(sys.argv[1:]))
