"""Holds the documents to the code: links, commands, flags, keys, names, rooms.

`readme_test.py` runs their Python.
"""

import ast
from collections.abc import Iterator
import functools
import importlib
import pathlib
import re
import shlex
import string
import sys
from unittest import mock

from absl import flags
from absl.testing import absltest, flagsaver

from data_prep.stages import flag_words
import disentangle3d as d3d
from experiments.configs import default, paper_scale
from tests.architecture_test import INNER_ROOMS
from tests.fixtures import REPOSITORY

_PACKAGES = ("data_prep", "experiments")
# Earlier names of binaries, which run today's.
_FORMER = {"import_sphereface"}
_BINARIES = {
  path.stem: f"{package}.{path.stem}"
  for package in _PACKAGES
  for path in sorted((REPOSITORY / package).glob("*.py"))
  if path.stem not in {"__init__", *_FORMER}
}
_DOCUMENTS = tuple(
  sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")])
)
# What the documents tell of today; the others keep what was.
_OF_TODAY = tuple(
  path
  for path in _DOCUMENTS
  if path.name != "CHANGELOG.md" and not re.match(r"\d", path.name)
)
_OF_OTHERS = {
  *("xla_gpu_deterministic_ops", "help", "verbosity", "compilation_cache"),
  # Of ray.
  *("address", "head"),
}
_HISTORY = re.compile(
  r"first day|until 20\d\d|used to|formerly|previously|back then|no longer"
  r"|tried and left out|at that time|of that day|not measured since|renamed to",
  re.IGNORECASE,
)
_FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?<=\n\n)(?: {4}.*\n)+")
_SPAN = re.compile(r"`([^`]+)`")


def _read(path: pathlib.Path) -> str:
  return path.read_text("utf-8")


def _name(path: pathlib.Path) -> str:
  return str(path.relative_to(REPOSITORY))


def _blocks(text: str) -> list[str]:
  """Blocks of shell."""
  fenced = [body for kind, body in _FENCED.findall(text) if kind != "python"]
  return fenced + _INDENTED.findall(_FENCED.sub("", text))


def _spans(text: str) -> list[str]:
  """What stands between backticks, each on one line."""
  prose = _INDENTED.sub("", _FENCED.sub("", text))
  return [
    " ".join(span.split()).replace("\\|", "|") for span in _SPAN.findall(prose)
  ]


def _lines(block: str) -> Iterator[list[str]]:
  """The words of each command of a block, its variables put in."""
  variables: dict[str, str] = {}
  for line in block.replace("\\\n", " ").splitlines():
    words = [
      string.Template(word).safe_substitute(variables) for word in _split(line)
    ]
    assigned = re.fullmatch(r"([A-Z]+)=(.*)", words[0]) if words else None
    if assigned and len(words) == 1:
      variables[assigned[1]] = assigned[2]
    else:
      yield words


def _split(line: str) -> list[str]:
  try:
    return shlex.split(line, comments=True)
  except ValueError:  # Python or a drawing
    return line.split()


def _commands(text: str) -> list[list[str]]:
  """`[package.binary, --flag=value, ...]` of every `python -m`."""
  lines = [words for block in _blocks(text) for words in _lines(block)]
  found = []
  for words in lines + [_split(span) for span in _spans(text)]:
    for place in range(len(words) - 2):
      module = words[place + 2]
      if words[place + 1] == "-m" and module.split(".")[0] in _PACKAGES:
        found.append(words[place + 2 :])
  return found


def _code(path: pathlib.Path) -> list[str]:
  return _blocks(_read(path)) + _spans(_read(path))


def _slug(heading: str) -> str:
  """The anchor that a heading gets."""
  kept = re.sub(r"[^\w\- ]", "", heading.strip().lower())
  return kept.replace(" ", "-")


def _anchors(path: pathlib.Path) -> set[str]:
  text = _FENCED.sub("", _read(path))
  return {_slug(h) for h in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


def _define_flags(binary: str) -> None:
  module = importlib.import_module(binary)
  (getattr(module, "define_flags", None) or module._define_flags)()


def _parse(words: list[str]) -> list[str]:
  """Parses a command as its binary does; what that warns of."""
  with flagsaver.flagsaver(), mock.patch.dict(flag_words._OLD, clear=True):
    with mock.patch.object(sys, "argv", words):
      _define_flags(words[0])
      todays, warnings = flag_words.today(words)
      flags.FLAGS(todays)
    return warnings


@functools.cache
def _flags_of(binary: str) -> frozenset[str]:
  importlib.import_module(binary)
  before = set(flags.FLAGS)
  with flagsaver.flagsaver():
    _define_flags(binary)
    return frozenset(set(flags.FLAGS) - before)


def _keys(config) -> set[str]:
  """All dotted keys of a config, those of its inner parts too."""
  found = set()
  for key, value in config.items():
    found.add(key)
    if hasattr(value, "items"):
      found |= {f"{key}.{inner}" for inner in _keys(value)}
  return found


def _is_of_study(code: str) -> bool:
  return "paper_scale" in code or "--test_people" in code


def _is_key(key: str, known: set[str]) -> bool:
  """Whether a key exists; `<name>` in it stands for any one."""
  pattern = re.sub(r"<\w+>", "[^.]+", key.replace(".", r"\."))
  return any(re.fullmatch(pattern, one) for one in known)


class LinksTest(absltest.TestCase):
  def test_links_lead_somewhere(self):
    wrong = []
    for path in _DOCUMENTS:
      for link in re.findall(r"\[[^]]*\]\(([^)\s]+)\)", _read(path)):
        if link.startswith("http"):
          continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        if not target.exists():
          wrong.append(f"{_name(path)}: {link}: no such file")
        elif anchor and anchor not in _anchors(target):
          wrong.append(f"{_name(path)}: {link}: no such heading")
    self.assertEmpty(wrong)

  def test_paths_exist(self):
    wrong = [
      f"{_name(path)}: {span}"
      for path in _OF_TODAY
      for span in _spans(_read(path))
      if re.fullmatch(
        r"(disentangle3d|data_prep|experiments|tests|docs)/[\w/]*(\.\w+)?", span
      )
      and not (REPOSITORY / span).exists()
    ]
    self.assertEmpty(wrong)

  def test_every_document_is_in_the_index(self):
    links = re.findall(r"\]\(([^)#]+)\)", _read(REPOSITORY / "BUILD.md"))
    for path in _OF_TODAY:
      if path.name != "BUILD.md":
        self.assertIn(_name(path), links)

  def test_every_dated_file_is_in_the_table(self):
    table = REPOSITORY / "docs/measurements/README.md"
    text = "".join(map(_read, _DOCUMENTS))
    for path in table.parent.glob("2*"):
      self.assertIn(f"{path.stem}.", text)
      if path.suffix == ".md":
        self.assertIn(f"({path.name})", _read(table))


class CommandsTest(absltest.TestCase):
  def test_commands_parse(self):
    wrong = []
    for path in _DOCUMENTS:
      for words in _commands(_read(path)):
        if words[0] not in _BINARIES.values():
          wrong.append(f"{_name(path)}: {words[0]}: no such binary")
          continue
        if len(words) == 1:
          continue
        try:
          warnings = _parse(words)
        except (flags.Error, KeyError, ValueError, TypeError, OSError) as error:
          wrong.append(f"{_name(path)}: {shlex.join(words)}: {error}")
        else:
          wrong += [f"{_name(path)}: {words[0]}: {w}" for w in warnings]
    self.assertEmpty(wrong)

  def test_renamed_flags_are_in_the_changelog(self):
    renamed = set()
    for name, binary in _BINARIES.items():
      with flagsaver.flagsaver(), mock.patch.dict(flag_words._OLD, clear=True):
        _define_flags(binary)
        renamed |= {(name, old, new) for old, new in flag_words._OLD.items()}
    told = re.findall(
      r"^\| `(\w+)` \| `--([\w.]+)` \| `--([\w.=]+)` \|$",
      _read(REPOSITORY / "CHANGELOG.md"),
      re.MULTILINE,
    )
    self.assertEqual(set(told), renamed)

  def test_flags_exist(self):
    every = _OF_OTHERS.union(*map(_flags_of, _BINARIES.values()))
    wrong = [
      f"{_name(path)}: --{name}"
      for path in _OF_TODAY
      for code in _code(path)
      for name in re.findall(r"--([a-z]\w+)", code)
      if name not in every
    ]
    self.assertEmpty(wrong)

  def test_flags_named_beside_a_binary_are_its_own(self):
    wrong = []
    for path in _OF_TODAY:
      for span in _spans(_read(path)):
        binary = _BINARIES.get(span.split()[0])
        if binary:
          known = _flags_of(binary) | _OF_OTHERS
          wrong += [
            f"{_name(path)}: {span}: --{name}"
            for name in re.findall(r"--([a-z]\w+)", span)
            if name not in known
          ]
    self.assertEmpty(wrong)

  def test_config_keys_exist(self):
    known = _keys(default.get_config())
    of_study = _keys(paper_scale.get_config())
    wrong = [
      f"{_name(path)}: config.{key}"
      for path in _OF_TODAY
      for code in _code(path)
      for key in re.findall(r"\bconfig\.([a-z_]+(?:\.(?:\w+|<\w+>))*)", code)
      if not _is_key(key, of_study if _is_of_study(code) else known)
    ]
    self.assertEmpty(wrong)


class NamesTest(absltest.TestCase):
  def test_every_binary_is_in_the_table_of_the_readme(self):
    rows = [
      line
      for line in _read(REPOSITORY / "README.md").splitlines()
      if line.startswith("|")
    ]
    for binary in _BINARIES.values():
      self.assertTrue(
        any(
          f"python -m {binary} " in f"{row} ".replace("`", " ") for row in rows
        ),
        binary,
      )

  def test_every_config_is_in_its_table(self):
    text = _read(REPOSITORY / "docs/training.md")
    for path in (REPOSITORY / "experiments/configs").glob("[a-z]*.py"):
      if "def get_config" in _read(path):
        self.assertTrue(f"`{path.name}`" in text, path.name)

  def test_renamed_keys_are_in_the_changelog(self):
    told = re.findall(
      r"^\| `(config\.\S+)` \| `(config\.\S+)` \|$",
      _read(REPOSITORY / "CHANGELOG.md"),
      re.MULTILINE,
    )
    renamed = {
      (f"{part.WHERE}.{old}", f"{part.WHERE}.{new}")
      for part in _subclasses(type(default.get_config()).__base__)
      for old, new in part.TODAY.items()
      if getattr(part.__base__, "TODAY", {}).get(old) != new
    }
    self.assertEqual(set(told), renamed)

  def test_public_names(self):
    text = _read(REPOSITORY / "docs/using.md")
    words = {word for span in _spans(text) for word in span.split()}
    self.assertEmpty(set(d3d.__all__) - words)
    for path in _OF_TODAY:
      text = _read(path)
      for name in re.findall(r"\bd3d\.([a-zA-Z_]\w*)", text):
        self.assertTrue(hasattr(d3d, name), f"{_name(path)}: d3d.{name}")

  def test_imports_of_python_blocks(self):
    for path in _OF_TODAY:
      for kind, body in _FENCED.findall(_read(path)):
        for module, names in _imports(body) if kind == "python" else ():
          for name in names:
            self.assertTrue(
              _resolves(f"{module}.{name}"), f"{_name(path)}: {module}.{name}"
            )

  def test_dotted_names(self):
    for path in _OF_TODAY:
      for span in _spans(_read(path)):
        if re.fullmatch(
          r"(disentangle3d|data_prep|experiments)(\.[a-z_]\w*)+", span
        ):
          self.assertTrue(_resolves(span), f"{_name(path)}: {span}")

  def test_rooms(self):
    text = _read(REPOSITORY / "docs/design.md")
    told = re.findall(r"^\| `(\w+/\w+)/` \|(.*)", text, re.MULTILINE)
    rooms = {
      "/".join(path.parts[-3:-1])
      for package in ("disentangle3d", *_PACKAGES)
      for path in (REPOSITORY / package).glob("*/__init__.py")
    }
    self.assertEqual({room for room, _ in told}, rooms)
    for room, rest in told:
      package, name = room.split("/")
      if package in INNER_ROOMS:
        imports = re.findall(r"`(\w+)`", rest.split("|")[0])
        self.assertEqual(set(imports), set(INNER_ROOMS[package][name]), room)

  def test_moved_modules(self):
    text = _read(REPOSITORY / "CHANGELOG.md")
    rows = re.findall(
      r"^\| (`(?!config)[a-z0-9_]+\..*)\|(.*)\|$", text, re.MULTILINE
    )
    self.assertNotEmpty(rows)
    for old, new in rows:
      for module in _SPAN.findall(old):
        file = REPOSITORY.joinpath(*module.split(".")).with_suffix(".py")
        self.assertFalse(file.exists(), module)
      for module in _SPAN.findall(new):
        self.assertTrue(_is_module(module), module)


def _subclasses(of: type) -> set[type]:
  return {of}.union(*map(_subclasses, of.__subclasses__()))


def _imports(code: str) -> list[tuple[str, list[str]]]:
  """What Python takes from this project, by module."""
  return [
    (node.module, [alias.name for alias in node.names])
    for node in ast.walk(ast.parse(code))
    if isinstance(node, ast.ImportFrom) and node.module
    if node.module.split(".")[0] in (*_PACKAGES, "disentangle3d")
  ]


def _resolves(dotted: str) -> bool:
  """Whether a dotted name is a module, or something in one."""
  module, _, name = dotted.rpartition(".")
  return _is_module(dotted) or (
    _is_module(module) and hasattr(importlib.import_module(module), name)
  )


def _is_module(dotted: str) -> bool:
  path = REPOSITORY.joinpath(*dotted.split("."))
  return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


class WordsTest(absltest.TestCase):
  def test_no_history(self):
    wrong = [
      f"{_name(path)}: {match.group()}"
      for path in _OF_TODAY
      for match in _HISTORY.finditer(" ".join(_read(path).split()))
    ]
    self.assertEmpty(wrong)

  def test_build_is_short(self):
    self.assertLessEqual((REPOSITORY / "BUILD.md").stat().st_size, 8_000)


if __name__ == "__main__":
  absltest.main()
