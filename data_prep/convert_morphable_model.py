r"""Turns a published 3D morphable model into this project's `.npz`.

    python -m data_prep.convert_morphable_model --format=ict_facekit \
      --source=FaceXModel --output=ict_facekit.npz

The output carries its licence and source, and every file made with it does.
"""

import pathlib

from absl import flags, logging
import tqdm

from data_prep import command_line
from data_prep.formats import ict_facekit
from disentangle3d.faces.morphable_model import save_morphable_model


def define_flags() -> None:
  """Defines --format, --source, --output and the model's options."""
  flags.DEFINE_enum(
    "format", None, ["ict_facekit"], "What the source is.", required=True
  )
  flags.DEFINE_string(
    "source",
    None,
    "The folder FaceXModel, or the .tar.xz that holds it.",
    required=True,
  )
  flags.DEFINE_string("output", None, "The .npz to write.", required=True)
  flags.DEFINE_enum(
    "region", "full", list(ict_facekit.REGIONS), "How much of the head."
  )
  flags.DEFINE_integer(
    "identity_modes",
    ict_facekit.NUM_IDENTITIES,
    "How many identity modes.",
    lower_bound=1,
    upper_bound=ict_facekit.NUM_IDENTITIES,
  )
  flags.DEFINE_integer(
    "expression_modes",
    29,
    "How many expression modes.",
    lower_bound=1,
    upper_bound=ict_facekit.NUM_EXPRESSIONS,
  )
  flags.DEFINE_integer(
    "seed", 0, "Of the random expressions that the modes come from."
  )


def main() -> None:
  """Converts one model."""
  output = pathlib.Path(flags.FLAGS.output)
  if output.suffix != ".npz" or output.is_dir():
    raise ValueError(f"--output: expected a name ending in .npz, got {output}")
  num_meshes = flags.FLAGS.identity_modes + ict_facekit.NUM_EXPRESSIONS
  with tqdm.tqdm(total=num_meshes, desc="reading", unit="mesh") as bar:
    model = ict_facekit.read_ict_facekit(
      pathlib.Path(flags.FLAGS.source),
      region=flags.FLAGS.region,
      identity_dim=flags.FLAGS.identity_modes,
      expression_dim=flags.FLAGS.expression_modes,
      seed=flags.FLAGS.seed,
      on_mesh=lambda _: bar.update(),
    )
  output.parent.mkdir(parents=True, exist_ok=True)
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


if __name__ == "__main__":
  command_line.run(main, define_flags)
