"""Binaries that turn what users have on disk into the dataset."""

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
