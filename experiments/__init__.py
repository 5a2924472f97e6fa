"""absl binaries: flags and one call each; the only readers of configs."""

import signal
import sys

# `python -m` is importing a binary: Ctrl-C ends it without a traceback until
# `stages.command_line.run` takes over.
if (
  sys.argv[:1] == ["-m"]
  and signal.getsignal(signal.SIGINT) is signal.default_int_handler
):
  signal.signal(signal.SIGINT, signal.SIG_DFL)
