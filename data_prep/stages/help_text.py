"""What `--help` prints: a binary's text, then its flags, 80 columns wide."""

from collections.abc import Sequence
import re
import textwrap

from absl import flags

_WIDTH = 80
# absl says of a flag only by this message that it is required.
_REQUIRED = "must have a value other than None"
# What absl puts before and after the help of some flags.
_CHOICES = re.compile(r"^<[^>]*>: ")
_REPEATED = ";\n    repeat this option to specify a list of values"
# What every binary has.
_EVERYWHERE = """\
  --compilation_cache=PATH
      The folder in which compiled programs are kept for the next start; off
      keeps none. Default: DISENTANGLE3D_COMPILATION_CACHE, else
      ~/.cache/disentangle3d/programs.

  --verbosity=NUMBER
      What is logged: -1 warnings and errors, 0 progress too, 1 also the
      traceback of an error. Default: 0."""
_VALUES = {
  "path": "PATH",
  "paths with commas between them": "PATH,PATH",
  "numbers with commas between them": "NUMBER,NUMBER",
  "int": "NUMBER",
  "float": "NUMBER",
  "comma separated list of strings": "A,B",
  "config object": "FILE",
  "string enum": "CHOICE",
}


def help_text(purpose: str, defined: Sequence[flags.Flag]) -> str:
  """The help of a binary.

  Args:
    purpose: The text of its module.
    defined: Its flags.
  """
  parts = [purpose.strip(), "Flags:"]
  parts += [_flag_text(flag) for flag in sorted(defined, key=_order)]
  return "\n\n".join([*parts, _EVERYWHERE]) + "\n"


def is_required(flag: flags.Flag) -> bool:
  """Whether a flag must be given."""
  return any(_REQUIRED in check.message for check in flag.validators)


def sentences(flag: flags.Flag) -> str:
  """The help of a flag as it was written."""
  return _CHOICES.sub("", (flag.help or "").removesuffix(_REPEATED))


def _order(flag: flags.Flag) -> tuple[bool, str]:
  return not is_required(flag), flag.name


def _flag_text(flag: flags.Flag) -> str:
  if flag.boolean:
    head = f"  --[no]{flag.name}"
  else:
    head = f"  --{flag.name}={_VALUES.get(flag.parser.flag_type(), 'TEXT')}"
  values = getattr(flag.parser, "enum_values", None)
  # One way to give many is enough.
  list_in_one = "commas" in flag.parser.flag_type()
  repeated = isinstance(flag, flags.MultiFlag) and not list_in_one
  parts = [
    sentences(flag),
    f"One of {', '.join(values)}." if values else "",
    "May be repeated." if repeated else "",
    "Must be given." if is_required(flag) else "",
    _default(flag),
  ]
  indent = " " * 6
  return f"{head}\n" + textwrap.fill(
    " ".join(filter(None, parts)),
    _WIDTH,
    initial_indent=indent,
    subsequent_indent=indent,
    break_long_words=False,
    break_on_hyphens=False,
  )


def _default(flag: flags.Flag) -> str:
  value = flag.default
  if isinstance(value, list):
    value = ",".join(map(str, value))
  if not isinstance(value, str | int | float | None):
    # A config, which is given as the path of its file.
    value = (flag.default_as_str or "").strip("'")
  if value in (None, "", False) and not isinstance(value, int | float):
    return ""
  if flag.boolean:
    return "On unless switched off." if value else ""
  return f"Default: {value}."
