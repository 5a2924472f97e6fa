r"""Makes the dataset that training reads out of fitted photos.

    python -m data_prep.build_dataset --fitted=fitted --output=dataset \
      --heldout_people=6

People, not photos, are split: nobody in "heldout" is in "train". Labels count
the people of "train" from 0 in natural order of their names, and go on with
those of "heldout". Both are decided over all photos, the same for every shard.

Killed or stopped, the same command goes on with the shards that are missing;
machines that share the folder take a part each with --shard=i/n. The folder is
a dataset once it has its manifest.json, which is written last.
"""

from absl import flags, logging

from data_prep.datasets.building import build_dataset
from data_prep.stages import command_line
from data_prep.stages.engines import engine_from_flags
from data_prep.stages.flag_words import (
  STAGE_OUTPUT,
  define_engine,
  define_heldout_people,
  define_output,
  define_path,
  define_shard,
  was,
)
from data_prep.stages.folder import parse_share
from disentangle3d.stores import as_path


def define_flags() -> None:
  """Defines --fitted, --output, --heldout_people, --seed, --shard."""
  define_path("fitted", "The folder that fit_faces wrote.", required=True)
  define_output(STAGE_OUTPUT)
  define_heldout_people()
  flags.DEFINE_integer("seed", 0, "Decides which people are held out.")
  define_shard()
  define_engine()
  was(fits="fitted")


def main() -> None:
  """Builds and reports."""
  manifest = build_dataset(
    as_path(flags.FLAGS.fitted),
    as_path(flags.FLAGS.output),
    heldout=flags.FLAGS.heldout_people,
    seed=flags.FLAGS.seed,
    share=parse_share(flags.FLAGS.shard),
    engine=engine_from_flags(),
  )
  for name, split in (manifest or {"splits": {}})["splits"].items():
    logging.info(
      "%s: %d photos of %d people in %s.",
      flags.FLAGS.output,
      split["num_records"],
      split["num_people"],
      name,
    )


if __name__ == "__main__":
  command_line.run(main, define_flags)
