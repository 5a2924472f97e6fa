r"""Turns a published 3D morphable model into this project's `.npz`.

    python -m data_prep.convert_morphable_model --format=ict_facekit \
      --source=FaceXModel --output_file=ict.npz --preview=ict.png

The output is in millimetres and standard deviations, has its landmarks
checked, and carries its licence and source, as every file made with it does.
"""

import dataclasses
import pathlib
from typing import Any

from absl import flags, logging

from data_prep.models import ict_facekit, npz_arrays
from data_prep.models.blendshapes import EXPRESSION_MEANS
from data_prep.models.crop import cut_model
from data_prep.models.formats import FORMATS, Format, read_landmark_list
from data_prep.models.preview import draw_model_landmarks
from data_prep.stages import command_line
from data_prep.stages.flag_words import define_output_file, define_path, was
from disentangle3d.faces.morphable_model import (
  MorphableModel,
  save_morphable_model,
)
from disentangle3d.output_files import check_output_file, replace_file
from disentangle3d.reporting.pictures import picture_png
from disentangle3d.types import UserError

# Keyword arguments of readers whose flag has another name.
_FLAGS = {
  "identity_dim": "identity_modes",
  "expression_dim": "expression_modes",
}
_PATHS = {
  "expression_source": (
    "The expressions: Model_Expression.mat or Exp_Pca.bin of 3ddfa and bfm2009,"
    " or the blendshapes of surrey."
  ),
  "expression_std": (
    "The std_exp.txt that goes with Exp_Pca.bin; the one beside it where it is"
    " not given."
  ),
  "trim_index": "The .mat with trimIndex, for expressions of 53,215 vertices.",
  "landmark_embedding": "The landmark_embedding.npy of FLAME.",
}


def define_flags() -> None:
  """Defines --format, --source, --output_file and the formats' options."""
  sources = ". ".join(
    f"For {name}, {form.source}" for name, form in FORMATS.items()
  )
  flags.DEFINE_enum(
    "format", None, list(FORMATS), "What the source is.", required=True
  )
  define_path("source", f"What is read. {sources}.", required=True)
  define_output_file("The .npz to write.")
  define_path(
    "preview", "A .png to write, the mean face with its landmarks numbered."
  )
  was(output="output_file")
  flags.DEFINE_integer(
    "identity_modes",
    None,
    "How many identity modes are kept; all where it is not given.",
    lower_bound=1,
  )
  flags.DEFINE_integer(
    "expression_modes",
    None,
    "How many expression modes are kept; all where it is not given, or 29 where"
    " they are made of blendshapes.",
    lower_bound=1,
  )
  flags.DEFINE_integer(
    "nearest_vertices",
    None,
    "How many vertices nearest the nose tip are kept, 0 for all; where it is"
    " not given, 29,495 of 3ddfa and all of others.",
    lower_bound=0,
  )
  define_path(
    "landmarks",
    "A text file with the vertices of the 68 landmarks, counted from 0, and -1"
    " for none.",
  )
  flags.DEFINE_string(
    "licence", None, "The terms of use to record in place of the format's."
  )
  _define_format_flags()


def _define_format_flags() -> None:
  """Those that only some formats have."""
  flags.DEFINE_enum(
    "region",
    "full",
    list(ict_facekit.REGIONS),
    "How much of the head of ict_facekit is kept.",
  )
  flags.DEFINE_integer(
    "seed",
    0,
    "Decides the random expressions that the modes of blendshapes come from.",
  )
  for name, what in _PATHS.items():
    define_path(name, what)
  flags.DEFINE_enum(
    "expression_mean",
    "modes",
    list(EXPRESSION_MEANS),
    "Where the mean expression goes: into the modes about the neutral face, or"
    " onto the neutral.",
  )
  flags.DEFINE_enum(
    "unit", "mm", list(npz_arrays.UNITS_MM), "The unit of npz_arrays."
  )
  flags.DEFINE_integer(
    "index_base",
    0,
    "The number of the first vertex in npz_arrays.",
    lower_bound=0,
    upper_bound=1,
  )


def main() -> None:
  """Converts one model."""
  output = pathlib.Path(flags.FLAGS.output_file)
  preview = flags.FLAGS.preview and pathlib.Path(flags.FLAGS.preview)
  for name, path, suffix in (
    ("output_file", output, ".npz"),
    ("preview", preview, ".png"),
  ):
    if path and (path.suffix != suffix or path.is_dir()):
      raise UserError(
        f"--{name}: expected a name ending in {suffix}, got {path}"
      )
  if preview:
    check_output_file(preview)
  model = _read_model()
  for path in filter(None, (preview, output)):
    path.parent.mkdir(parents=True, exist_ok=True)
  if preview:
    replace_file(preview, picture_png(draw_model_landmarks(model)))
    logging.info("Wrote %s: look at it.", preview)
  save_morphable_model(output, model)
  logging.info(
    "Wrote %s: %s, %d vertices, %d triangles, %d + %d modes. Licence: %s.",
    output,
    model.name,
    model.num_vertices,
    len(model.triangles),
    model.identity_dim,
    model.expression_dim,
    model.licence,
  )


def _read_model() -> MorphableModel:
  """Reads the source; cuts modes and vertices as asked."""
  values, form = flags.FLAGS, FORMATS[flags.FLAGS.format]
  source = pathlib.Path(values.source)
  model = form.read(source, **_options(form))
  nearest = values.nearest_vertices
  try:
    model = cut_model(
      model,
      identity_modes=values.identity_modes,
      expression_modes=values.expression_modes,
      nearest_vertices=form.nearest_vertices if nearest is None else nearest,
    )
  except ValueError as error:
    raise UserError(f"{source}: {error}") from error
  if values.licence:
    model = dataclasses.replace(model, licence=values.licence)
  return model


def _options(form: Format) -> dict[str, Any]:
  """The reader's keyword arguments; refuses flags that it does not have."""
  values = flags.FLAGS
  for_some = {name for other in FORMATS.values() for name in other.options}
  # These are for every format: modes are cut, the licence is replaced.
  for_some -= {*_FLAGS, "licence"}
  for name in sorted(for_some - {*form.options}):
    if values[name].present:
      having = [k for k, other in FORMATS.items() if name in other.options]
      raise UserError(
        f"--{name}: expected with --format={'|'.join(having)}, got it with"
        f" {values.format}"
      )
  options: dict[str, Any] = {}
  for keyword in form.options:
    flag = _FLAGS.get(keyword, keyword)
    value = values[flag].value
    if value is not None:
      options[keyword] = pathlib.Path(value) if keyword in _PATHS else value
    elif keyword in form.required:
      raise UserError(
        f"--{flag}: expected a value with --format={values.format}, got none"
      )
  if values.landmarks:
    options["landmarks"] = read_landmark_list(pathlib.Path(values.landmarks))
  return options


if __name__ == "__main__":
  command_line.run(main, define_flags)
