"""Reads the source: imports go down the rooms only, files stay small."""

import ast
import collections
import json
import pathlib
import re
import subprocess
import sys
import tokenize

from absl.testing import absltest

from tests.fixtures import REPOSITORY

# design: each may import those before it, and its own.
_ROOMS = (
  ("disentangle3d.types",),
  ("disentangle3d.stores",),
  (
    "disentangle3d.input_files",
    "disentangle3d.output_files",
    "disentangle3d.machine",
  ),
  ("disentangle3d.folder_use",),
  ("disentangle3d.geometry",),
  ("disentangle3d.crop_templates",),
  ("disentangle3d.faces",),
  ("disentangle3d.fitting", "disentangle3d.network"),
  ("disentangle3d.training", "disentangle3d.evaluation"),
  ("disentangle3d.inference",),
  ("disentangle3d.reporting",),
  ("disentangle3d",),
  ("data_prep",),
  ("experiments",),
)
# The rooms of the two packages of binaries: each may import what stands behind
# it, its own, and `disentangle3d` (experiments: `data_prep` too).
INNER_ROOMS = {
  "data_prep": {
    "files": (),
    "stages": (),
    "models": ("files",),
    "trunks": ("files",),
    "photos": ("files",),
    "evaluation_sets": ("files", "photos"),
    "faces": ("files", "photos", "stages"),
    "fitting": ("evaluation_sets", "faces", "photos", "stages"),
    "datasets": ("fitting", "photos", "stages"),
  },
  "experiments": {
    "configs": (),
    "training": ("configs",),
    "sets": (),
    "measures": ("sets",),
    "pages": ("configs", "measures", "sets"),
    "evaluations": ("measures", "pages", "sets"),
    "benchmarks": ("configs", "pages", "photographs", "training"),
    "photographs": (),
    "exports": (),
    "resilience": (),
    "study": (
      *("benchmarks", "configs", "measures", "pages", "sets", "training"),
    ),
  },
}
# Functions and classes of two rooms may have one name where it means the same:
# the entries of binaries and configs, and the network in PyTorch.
_SHARED_NAMES = {"decode", "define_flags", "encode", "get_config", "main"}
# Parts of protocols of a user's own.
_OFFERED = {
  *("align_landmarks", "around_nose_tip", "plane_distance", "surface_distance")
}
_SOLE_IMPORTERS = {
  "orbax": ("disentangle3d/training/checkpoint.py",),
  "grain": ("disentangle3d/training/input_pipeline.py",),
  "trimesh": ("disentangle3d/faces/meshes.py",),
  "igl": ("disentangle3d/evaluation/surfaces.py",),
  "cv2": ("data_prep/",),
  "fsspec": ("disentangle3d/stores.py",),
  "ray": ("data_prep/stages/ray_engine.py",),
  "ml_collections": ("experiments/",),
  "absl": ("data_prep/", "experiments/"),
}


def _sources() -> list[pathlib.Path]:
  return [
    path
    for room in ("disentangle3d", "data_prep", "experiments")
    for path in sorted((REPOSITORY / room).rglob("*.py"))
  ]


def _room(module: str) -> int | None:
  """The position in `_ROOMS` of a module's longest matching prefix."""
  best, place = -1, None
  for index, names in enumerate(_ROOMS):
    for name in names:
      if (module == name or module.startswith(name + ".")) and len(name) > best:
        best, place = len(name), index
  return place


def _imports(tree: ast.AST) -> list[str]:
  found = []
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      found += [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module:
      found += [f"{node.module}.{alias.name}" for alias in node.names]
  return found


class ArchitectureTest(absltest.TestCase):
  def test_imports_go_down_the_list_only(self):
    wrong = []
    for path in _sources():
      relative = path.relative_to(REPOSITORY)
      module = ".".join(relative.with_suffix("").parts).removesuffix(
        ".__init__"
      )
      for imported in _imports(ast.parse(path.read_text())):
        here, there = _room(module), _room(imported)
        if here is None or there is None or path.name == "__init__.py":
          continue
        same = any(
          module.startswith(n) and imported.startswith(n) for n in _ROOMS[here]
        )
        if there > here or (there == here and not same):
          wrong.append(f"{relative} imports {imported}")
    self.assertEmpty(wrong)

  def test_rooms_of_binaries_import_along_their_arrows_only(self):
    wrong = []
    for package, rooms in INNER_ROOMS.items():
      folders = {
        path.parent.name for path in (REPOSITORY / package).glob("*/*.py")
      }
      self.assertEqual(folders, set(rooms))
      for path in sorted((REPOSITORY / package).glob("*/**/*.py")):
        relative = path.relative_to(REPOSITORY)
        room = relative.parts[1]
        for imported in _imports(ast.parse(path.read_text())):
          parts = imported.split(".")
          if parts[0] == package and parts[1] not in (room, *rooms[room]):
            wrong.append(f"{relative} imports {imported}")
    self.assertEmpty(wrong)

  def test_the_arrows_make_no_circle(self):
    for rooms in INNER_ROOMS.values():
      left = dict(rooms)
      while left:
        free = [
          room for room, behind in left.items() if not set(behind) & set(left)
        ]
        self.assertNotEmpty(free, left)
        for room in free:
          del left[room]

  def test_no_binary_imports_another(self):
    wrong = []
    for package in INNER_ROOMS:
      binaries = {path.stem for path in (REPOSITORY / package).glob("*.py")}
      for path in sorted((REPOSITORY / package).glob("*.py")):
        for imported in _imports(ast.parse(path.read_text())):
          parts = imported.split(".")
          if parts[0] in INNER_ROOMS and parts[1] in binaries:
            wrong.append(f"{package}/{path.name} imports {imported}")
    self.assertEmpty(wrong)

  def test_every_room_says_what_it_is_for(self):
    for path in sorted(REPOSITORY.glob("*/*/__init__.py")):
      if path.parent.parent.name in ("disentangle3d", *INNER_ROOMS):
        docstring = ast.get_docstring(ast.parse(path.read_text()))
        self.assertTrue(docstring, path)

  def test_two_rooms_give_no_name_to_two_things(self):
    places: dict[str, set[str]] = {}
    for path in _sources():
      *room, _ = path.relative_to(REPOSITORY).parts[:3]
      for node in ast.parse(path.read_text()).body:
        public = isinstance(node, (ast.ClassDef, ast.FunctionDef))
        if public and not node.name.startswith("_"):
          places.setdefault(node.name, set()).add("/".join(room))
    twice = {
      name: rooms
      for name, rooms in places.items()
      if len(rooms) > 1 and name not in _SHARED_NAMES
    }
    self.assertEmpty(twice)

  def test_functions_that_only_their_module_uses_are_private(self):
    words = {
      path: set(re.findall(r"\w+", path.read_text()))
      for path in (*_sources(), *(REPOSITORY / "tests").rglob("*.py"))
    }
    uses = collections.Counter(
      word for found in words.values() for word in found
    )
    wrong = []
    for path in _sources():
      relative = path.relative_to(REPOSITORY)
      if relative.parts[0] != "disentangle3d" or "training" in relative.parts:
        continue
      for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
          if uses[node.name] < 2 and node.name not in _OFFERED:
            wrong.append(f"{relative}: {node.name}")
    self.assertEmpty(wrong)

  def test_each_outside_library_has_one_door(self):
    wrong = []
    for path in _sources():
      relative = str(path.relative_to(REPOSITORY))
      for imported in _imports(ast.parse(path.read_text())):
        doors = _SOLE_IMPORTERS.get(imported.split(".")[0])
        if doors and not relative.startswith(doors):
          wrong.append(f"{relative} imports {imported}")
    self.assertEmpty(wrong)

  def test_files_and_functions_stay_small(self):
    wrong = []
    for path in _sources():
      text = path.read_text()
      relative = path.relative_to(REPOSITORY)
      if text.count("\n") > 400:
        wrong.append(f"{relative}: {text.count(chr(10))} lines")
      for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
          docstring = ast.get_docstring(node, clean=False) or ""
          lines = node.end_lineno - node.lineno - docstring.count("\n")
          if lines > 100:
            wrong.append(f"{relative}:{node.lineno} {node.name}: {lines} lines")
    self.assertEmpty(wrong)

  def test_the_library_neither_prints_nor_asserts(self):
    wrong = []
    for path in _sources():
      relative = path.relative_to(REPOSITORY)
      for node in ast.walk(ast.parse(path.read_text())):
        printed = (
          isinstance(node, ast.Call)
          and getattr(node.func, "id", "") == "print"
          and relative.parts[0] == "disentangle3d"
        )
        if printed or isinstance(node, ast.Assert):
          wrong.append(f"{relative}:{node.lineno}")
    self.assertEmpty(wrong)

  def test_pmap_is_called_in_one_file(self):
    calling = [
      str(path.relative_to(REPOSITORY))
      for path in _sources()
      if "jax.pmap(" in path.read_text()
    ]
    self.assertEqual(calling, ["disentangle3d/training/placement.py"])

  def test_no_private_jax_module_is_used(self):
    wrong = [
      f"{path.relative_to(REPOSITORY)} imports {imported}"
      for path in _sources()
      for imported in _imports(ast.parse(path.read_text()))
      if imported.startswith(("jax._", "jaxlib"))
    ]
    self.assertEmpty(wrong)

  def test_no_name_is_undefined(self):
    # The linters are blind to it: jaxtyping's shapes are strings of names.
    found = subprocess.run(
      [
        *(sys.executable, "-m", "ruff", "check", "--isolated"),
        *("--select=F821", "--output-format=json", "--exit-zero"),
        *("disentangle3d", "data_prep", "experiments"),
      ],
      cwd=REPOSITORY,
      capture_output=True,
      check=True,
    )
    wrong = [
      f"{finding['filename']}:{finding['location']['row']} {finding['message']}"
      for finding in json.loads(found.stdout)
      if not _is_in_string(finding["filename"], finding["location"])
    ]
    self.assertEmpty(wrong)


def _is_in_string(filename: str, location: dict[str, int]) -> bool:
  place = (location["row"], location["column"] - 1)
  with tokenize.open(filename) as file:
    return any(
      token.type == tokenize.STRING and token.start <= place < token.end
      for token in tokenize.generate_tokens(file.readline)
    )


if __name__ == "__main__":
  absltest.main()
