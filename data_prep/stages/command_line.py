"""How every binary starts, and how it reports what the user got wrong."""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import io
import logging as python_logging
import os
import re
import signal
import sys
from typing import NoReturn, TextIO, cast

from absl import app, flags, logging

from data_prep.stages.compiled_programs import (
  ENVIRONMENT,
  FLAG,
  define_compilation_cache,
  keep_programs,
)
from data_prep.stages.flag_words import today
from data_prep.stages.help_text import help_text
from disentangle3d.types import UserError

_HELP = {"--help", "-help", "-h", "-?"}
# What a parser of absl or ml_collections complains of, and what it would take.
_EXPECTED = {
  "invalid literal for int": "a whole number",
  "could not convert string to float": "a number",
  r"\('Non-boolean": "true or false",
  "Failed to parse .* as a ConfigDict": "a mapping as \"{'name': 1}\"",
  "Error while parsing string.* as tuple": "a tuple as \"('a', 'b')\"",
  "value should be one of <(.*)>": "one of ",
}


def run(
  main: Callable[[], None],
  define_flags: Callable[[], None] | None = None,
  *,
  check: Callable[[], None] | None = None,
  keeps_programs: bool = True,
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
    check: What `--only_check_args` does beside reading the flags: raises where
      `main` would because of them, whatever the stage before left.
    keeps_programs: Whether what is compiled is kept for the next start; not
      where compiling is measured.
  """
  # Until here Ctrl-C ended the process (see `data_prep.__init__`).
  if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
    signal.signal(signal.SIGINT, signal.default_int_handler)
  with _flags_told():
    define_compilation_cache()
    if define_flags is not None:
      define_flags()
  # JAX tells of every backend that is not there.
  python_logging.getLogger("jax").setLevel(python_logging.WARNING)
  # Names of files that are no UTF-8, and terminals that are not, stop nothing.
  if isinstance(sys.stdout, io.TextIOWrapper):
    sys.stdout.reconfigure(errors="backslashreplace")
  sys.stdout = cast(TextIO, _WhileRead(sys.stdout))

  def parsed(argv: Sequence[str]) -> list[str]:
    left = _parse_flags(argv)
    if check is not None and flags.FLAGS.only_check_args:
      with _errors_told():
        check()
    return left

  def checked(argv: Sequence[str]) -> None:
    if len(argv) > 1:
      _fail(f"expected flags only (--name=value), got {argv[1]!r}")
    with _errors_told():
      if keeps_programs:
        asked = flags.FLAGS[FLAG].value
        keep_programs(asked)
        # What this process starts keeps them there, too.
        if asked:
          os.environ[ENVIRONMENT] = asked
      main()

  app.run(checked, flags_parser=parsed)


@contextlib.contextmanager
def _errors_told() -> Iterator[None]:
  """Makes one line and an exit status of what the user got wrong."""
  try:
    yield
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
  with _flags_told():
    return flags.FLAGS(words)


@contextlib.contextmanager
def _flags_told() -> Iterator[None]:
  """Makes one line of what is wrong with a flag."""
  try:
    yield
  except UserError as error:
    _fail(str(error))
  except flags.Error as error:
    # absl names the flag again where a parser has said it all.
    if isinstance(error.__context__, UserError):
      _fail(str(error.__context__))
    _fail(f"{_told(str(error))} (--help lists the flags)")


def _told(message: str) -> str:
  """What absl says of a flag, as this project's errors say it."""
  if missing := re.match(r"flag --(\w+)=None: Flag --\1 must have", message):
    return f"--{missing[1]}: expected a value, got none"
  unknown = re.match(
    r"Unknown command line flag '(.+?)'(?:. Did you mean: (.+) \?)?", message
  )
  if unknown:
    name, meant = unknown.groups()
    return f"--{name}: no such flag" + f"; did you mean {meant}?" * bool(meant)
  for reason, expected in _EXPECTED.items():
    told = re.match(f"flag --([^=]+)=(.*): {reason}", message, re.DOTALL)
    if told:
      name, value, *choices = told.groups()
      expected += ", ".join("".join(choices).split("|"))
      return f"--{name}: expected {expected}, got {value!r}"
  return re.sub("^flag --([^=]+)=.*?: ", r"--\1: ", message)


def _fail(message: str) -> NoReturn:
  sys.stderr.write(f"ERROR: {' '.join(message.splitlines())}\n")
  sys.exit(1)
