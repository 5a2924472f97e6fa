"""absl binaries: flags and one call each; the only readers of configs."""

import logging
import signal
import sys

# `python -m` is importing a binary: Ctrl-C ends it without a traceback until
# `stages.command_line.run` takes over.
if (
  sys.argv[:1] == ["-m"]
  and signal.getsignal(signal.SIGINT) is signal.default_int_handler
):
  signal.signal(signal.SIGINT, signal.SIG_DFL)

# A home that cannot be written to is no matter of ours, which Matplotlib tells
# in three lines.
logging.getLogger("matplotlib").setLevel(logging.ERROR)
