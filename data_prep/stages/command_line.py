"""How every binary starts, and how it reports what the user got wrong."""

from collections.abc import Callable, Sequence
import logging as python_logging
import os
import re
import signal
import sys
from typing import NoReturn, TextIO, cast

from absl import app, flags, logging

from data_prep.stages.flag_words import today
from data_prep.stages.help_text import help_text
from disentangle3d.types import UserError

_HELP = {"--help", "-help", "-h", "-?"}


def run(
  main: Callable[[], None], define_flags: Callable[[], None] | None = None
) -> None:
  """Runs a binary: absl's `app.run`, with the user's errors in one line.

  A binary defines its flags here or just before, not at import, so that
  binaries with flags of the same name can be imported together.

  `--help` prints the binary's text and flags, with exit status 0.
  Bad flags, a `UserError` out of `main`, and what the system refused (no such
  file, no permission, a full disk) become one line on stderr and exit status
  1, with `--verbosity=1` after their traceback; Ctrl-C becomes exit status
  130. Anything else is a defect and keeps its traceback. Whoever reads stdout
  may stop (`| head`): the work goes on.

  Args:
    main: The binary's work; reads `absl.flags.FLAGS`.
    define_flags: Defines the binary's flags, unless they are defined already.
  """
  # Until here Ctrl-C ended the process (see `data_prep.__init__`).
  if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
    signal.signal(signal.SIGINT, signal.default_int_handler)
  if define_flags is not None:
    define_flags()
  # JAX tells of every backend that is not there.
  python_logging.getLogger("jax").setLevel(python_logging.WARNING)
  sys.stdout = cast(TextIO, _WhileRead(sys.stdout))

  def checked(argv: Sequence[str]) -> None:
    if len(argv) > 1:
      _fail(f"expected flags only (--name=value), got {argv[1]!r}")
    try:
      main()
    except (UserError, OSError) as error:
      if not isinstance(error, UserError) and error.errno is None:
        raise
      logging.debug("The traceback:", exc_info=True)
      _fail(str(error) or type(error).__name__)
    except KeyboardInterrupt:
      sys.stderr.write("Stopped.\n")
      sys.exit(130)
    finally:
      sys.stdout.flush()

  app.run(checked, flags_parser=_parse_flags)


class _WhileRead:
  """A stream whose reader may go: what is written then is dropped."""

  def __init__(self, stream: TextIO):
    self._stream = stream

  def __getattr__(self, name: str) -> object:
    return getattr(self._stream, name)

  def write(self, text: str) -> int:
    try:
      return self._stream.write(text)
    except BrokenPipeError:
      self._drop()
      return len(text)

  def flush(self) -> None:
    try:
      self._stream.flush()
    except BrokenPipeError:
      self._drop()

  def _drop(self) -> None:
    """Sends what is buffered, and all that follows, nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, self._stream.fileno())
    os.close(nowhere)


def _parse_flags(argv: Sequence[str]) -> list[str]:
  words, warnings = today(argv)
  for warning in warnings:
    sys.stderr.write(f"WARNING: {warning}\n")
  if _HELP.intersection(words):
    purpose = sys.modules["__main__"].__doc__ or ""
    own = flags.FLAGS.get_key_flags_for_module(argv[0])
    sys.stdout.write(help_text(purpose, own))
    sys.stdout.flush()
    sys.exit(0)
  # A config reads its overrides from here.
  sys.argv[1:] = words[1:]
  try:
    return flags.FLAGS(words)
  except flags.Error as error:
    missing = re.match(r"flag --(\w+)=None: Flag --\1 must have", str(error))
    what = f"--{missing[1]}: expected a value, got none" if missing else error
    _fail(f"{what} (--help lists the flags)")
  except (KeyError, TypeError, ValueError, OSError, ImportError) as error:
    # Overrides of a config that ml_collections refuses.
    _fail(str(error.args[0] if error.args else error))


def _fail(message: str) -> NoReturn:
  sys.stderr.write(f"ERROR: {' '.join(message.splitlines())}\n")
  sys.exit(1)
