"""From a photograph to files: starts of a process, and part by part."""

from collections.abc import Callable, Mapping, Sequence
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from typing import Any, cast

import numpy as np

from data_prep.faces.dlib_locator import DlibLocator
from data_prep.fitting.eos_fitter import EosFitter
from data_prep.photos.loose_photos import read_loose_photo
from data_prep.stages.compiled_programs import ENVIRONMENT
from disentangle3d.faces.meshes import write_mesh
from disentangle3d.faces.morphable_model import (
  load_morphable_model,
  synthesize_shape,
)
from disentangle3d.reporting.html_page import Table
from disentangle3d.types import UserError
from experiments.benchmarks.timing import Timing, time_in_turn
from experiments.photographs.cameras import photo_cameras
from experiments.photographs.files import OUTPUTS, write_face
from experiments.photographs.lines import Seen
from experiments.photographs.maps import face_maps
from experiments.photographs.shapes import FaceMaker
from experiments.photographs.sightings import Finder
from experiments.photographs.solving import Solved

ALTERNATIVE = "dlib, eos-py and OBJ"
_OBJ_ALONE = ("--outputs=mesh", "--formats=obj")


def time_starts(
  photos: Sequence[pathlib.Path], arguments: Sequence[str]
) -> dict[str, tuple[float, float]]:
  """Seconds, on the clock and of the processor, of whole processes.

  Args:
    photos: The first by itself, then all.
    arguments: Of `experiments.reconstruct` beside --photos and --output.

  Returns:
    By what was started: cold (no program is kept), the second start, one with
    the viewer; all photos, cold and with all programs kept, and each further
    one's part of the latter; the same of an OBJ file alone, as `ALTERNATIVE`
    writes.
  """
  with tempfile.TemporaryDirectory() as scratch:
    folder = pathlib.Path(scratch)

    def start(
      name: str,
      some: Sequence[pathlib.Path],
      *more: str,
      programs: str = "programs",
    ) -> Any:
      names = ",".join(f'"{path}"' for path in some)
      command = [sys.executable, "-m", "experiments.reconstruct", *arguments]
      command += [f"--photos={names}", f"--output={folder / name}", *more]
      told = os.environ | {ENVIRONMENT: str(folder / programs)}
      before, begun = _children_s(), time.perf_counter()
      done = subprocess.run(command, env=told, capture_output=True, text=True)
      if done.returncode:
        raise UserError(done.stderr.strip().splitlines()[-1])
      return time.perf_counter() - begun, _children_s() - before

    found = {
      "first start ever": start("cold", photos[:1]),
      "second start": start("second", photos[:1]),
      "second start, with the viewer": start("seen", photos[:1], "--viewer"),
    }
    if len(photos) > 1:
      # What is compiled for other sizes is not of a further photo.
      cold = start("cold all", photos, programs="others")
      every = start("all", photos, programs="others")
      alone = start("one", photos[:1], *_OBJ_ALONE, programs="others")
      meshes = start("meshes", photos, *_OBJ_ALONE, programs="others")
      found[f"{len(photos)} photographs, first start ever"] = cold
      found[f"{len(photos)} photographs, again"] = every
      for name, all_, one in (
        ("of these, each further one", every, found["second start"]),
        ("each further one, an OBJ file alone", meshes, alone),
      ):
        rest = len(photos) - 1
        found[name] = ((all_[0] - one[0]) / rest, (all_[1] - one[1]) / rest)
  return found


def _children_s() -> float:
  used = resource.getrusage(resource.RUSAGE_CHILDREN)
  return used.ru_utime + used.ru_stime


def time_parts(
  path: pathlib.Path,
  maker: FaceMaker,
  *,
  morphable_model: str | None,
  rounds: int,
) -> dict[str, Timing]:
  """What one photo takes once all is compiled, part by part and in turn.

  Args:
    path: The photo.
    maker: The method.
    morphable_model: What `ALTERNATIVE` fits; None goes without.
    rounds: How many.
  """
  finder = Finder(precropped=False, template=maker.template)
  photo = read_loose_photo(path)
  faces = finder.faces(photo)[:1]
  # Without a photo the finder would have said so.
  image = cast(np.ndarray, photo.image)
  codes = maker.encode(faces)
  cameras = photo_cameras(maker, codes, faces)
  seen = Seen(photo.name, "", photo.notes, tuple(faces))
  face = Solved(codes, cameras).face(0, seen, faces[0], maker)
  with tempfile.TemporaryDirectory() as scratch:
    folder = pathlib.Path(scratch)

    def write(*outputs: str) -> Callable[[], object]:
      return lambda: write_face(folder, face, image, maker, outputs=outputs)

    works: dict[str, Callable[[], object]] = {
      "decode": lambda: read_loose_photo(path),
      "find faces and landmarks": lambda: finder.faces(photo),
      "codes": lambda: maker.encode(faces),
      "camera": lambda: photo_cameras(maker, codes, faces),
      "shapes and maps": lambda: face_maps(maker, codes, cameras, faces[0]),
      "result.json": write(),
      **{f"write {name}": write(name) for name in OUTPUTS},
    }
    if morphable_model:
      works[ALTERNATIVE] = _alternative(path, morphable_model, folder)
    return time_in_turn(works, rounds=rounds)


def _alternative(
  path: pathlib.Path, morphable_model: str, folder: pathlib.Path
) -> Callable[[], object]:
  """What a user would put together: landmarks, a fit, a mesh."""
  model = load_morphable_model(morphable_model)
  locate, fitter = DlibLocator().locate, EosFitter(model)

  def make() -> None:
    photo = read_loose_photo(path)
    found = locate(cast(np.ndarray, photo.image), None)
    identity, expression = fitter.fit(found.landmarks, found.visibility)
    shape = synthesize_shape(
      model,
      np.asarray(identity, np.float32)[None],
      np.asarray(expression, np.float32)[None],
    )
    write_mesh(folder / "eos.obj", shape[0], model.triangles)

  return make


def tables(
  starts: Mapping[str, tuple[float, float]], parts: Mapping[str, Timing]
) -> list[Table]:
  """Starts, and parts of a warm photo."""
  return [
    Table(
      ("", "seconds", "core seconds"),
      [(name, *taken) for name, taken in starts.items()],
      caption="Whole processes.",
    ),
    Table(
      ("", "p50, ms", "core ms"),
      [
        (name, 1e3 * taken.median_s, 1e3 * taken.median_cpu_s)
        for name, taken in parts.items()
      ],
      digits=1,
      caption="One face of one photograph, all compiled; each 'write' has"
      " result.json in it, those of meshes and views the skin.",
    ),
  ]
