"""How every binary starts, and how it reports what the user got wrong."""

from collections.abc import Callable, Sequence
import logging as python_logging
import sys
from typing import NoReturn

from absl import app, flags, logging

# What bad input raises. Anything else is a defect and keeps its traceback.
_EXPECTED = (ValueError, OSError, ImportError)


def run(
  main: Callable[[], None], define_flags: Callable[[], None] | None = None
) -> None:
  """Runs a binary: absl's `app.run`, with errors in one line.

  A binary defines its flags here or just before, not at import, so that
  binaries with flags of the same name can be imported together.

  Bad flags, and any ValueError, OSError or ImportError out of `main`, become
  one line on stderr and exit status 1; Ctrl-C becomes exit status 130.
  `--verbosity=1` adds the traceback.

  Args:
    main: The binary's work; reads `absl.flags.FLAGS`.
    define_flags: Defines the binary's flags, unless they are defined already.
  """
  if define_flags is not None:
    define_flags()
  # JAX tells of every backend that is not there.
  python_logging.getLogger("jax").setLevel(python_logging.WARNING)

  def checked(argv: Sequence[str]) -> None:
    if len(argv) > 1:
      _fail(f"expected flags only (--name=value), got {argv[1]!r}")
    try:
      main()
    except _EXPECTED as error:
      logging.debug("The traceback:", exc_info=True)
      _fail(str(error) or type(error).__name__)
    except KeyboardInterrupt:
      sys.stderr.write("Stopped.\n")
      sys.exit(130)

  app.run(checked, flags_parser=_parse_flags)


def _parse_flags(argv: Sequence[str]) -> list[str]:
  try:
    return flags.FLAGS(argv)
  except flags.Error as error:
    _fail(f"{error} (--help lists the flags)")
  except (KeyError, TypeError, *_EXPECTED) as error:
    # Overrides of a config that ml_collections refuses.
    _fail(str(error.args[0] if error.args else error))


def _fail(message: str) -> NoReturn:
  sys.stderr.write(f"ERROR: {' '.join(message.splitlines())}\n")
  sys.exit(1)
