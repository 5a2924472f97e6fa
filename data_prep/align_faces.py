r"""Cuts the crops that networks see out of photos in which a face was found.

    python -m data_prep.align_faces --located=located --output=aligned

Each crop is the photo under the similarity that takes five points, or all 68
landmarks, nearest to a template; what lies outside the photo is black. The
transform is kept in the manifest. Networks train on crops of 112 x 96.

Killed or stopped, the same command goes on with the manifest shards that are
missing; machines that share the folder take a part each with --shard=i/n.
"""

from absl import flags

from data_prep.faces.alignment import CROPS, align_faces
from data_prep.photos.crops import TEMPLATES
from data_prep.stages import command_line
from data_prep.stages.engines import engine_from_flags
from data_prep.stages.flag_words import (
  STAGE_OUTPUT,
  define_engine,
  define_output,
  define_path,
  define_shard,
)
from data_prep.stages.folder import parse_share
from disentangle3d.stores import as_path


def define_flags() -> None:
  """Defines --located, --output, --template, --shard."""
  define_path(
    "located", "The folder that locate_landmarks wrote.", required=True
  )
  define_output(STAGE_OUTPUT)
  flags.DEFINE_enum(
    "template",
    "sphereface",
    list(TEMPLATES),
    "The template of the crops: sphereface and whole_face make 112 x 96, which"
    " training takes, by five points or all 68 landmarks; arcface makes"
    " 112 x 112.",
  )
  flags.DEFINE_enum(
    "crops",
    "files",
    CROPS,
    "Whether each crop is a file, or a manifest's crops are one tar shard as"
    " WebDataset reads it.",
  )
  define_shard()
  define_engine()


def main() -> None:
  """Aligns and reports."""
  align_faces(
    as_path(flags.FLAGS.located),
    as_path(flags.FLAGS.output),
    template=TEMPLATES[flags.FLAGS.template],
    crops=flags.FLAGS.crops,
    share=parse_share(flags.FLAGS.shard),
    engine=engine_from_flags(),
  )


if __name__ == "__main__":
  command_line.run(main, define_flags)
