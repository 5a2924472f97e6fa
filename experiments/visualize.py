r"""The paper's pictures: Fig. 9 (bases), Fig. 5 and 8 (galleries), Fig. 1.

    python -m experiments.visualize --dataset=runs/demo/dataset \
      --network="after I + II=runs/demo/training/export/decoders" \
      --network="after III=runs/demo/training" \
      --output=runs/demo/evaluation/pictures

Networks are named in the order of training: Fig. 9 shows the bases of all, the
galleries what the last one makes of people it never saw. `--dataset` takes the
synthetic people, with their true shapes; `--photos` the held-out people of a
dataset of photographs. Both may be given, or neither. Writes a folder for
`experiments.report`.
"""

from absl import flags

from data_prep.stages import command_line
from disentangle3d.types import UserError
from experiments.evaluations.pictures import draw_pictures
from experiments.pages.findings import check_output
from experiments.sets.meshes import MESHES_HELP
from experiments.sets.networks import NETWORK_HELP, read_networks
from experiments.training.host import keep_freed_memory


def _define_flags() -> None:
  flags.DEFINE_multi_string("network", None, NETWORK_HELP, required=True)
  flags.DEFINE_string("output", None, "Folder to write.", required=True)
  flags.DEFINE_string(
    "dataset", None, "A dataset of data_prep.render_synthetic."
  )
  flags.DEFINE_string("photos", None, "A dataset of build_dataset.")
  flags.DEFINE_multi_string("meshes", [], MESHES_HELP)
  flags.DEFINE_integer("bases", 5, "Basis vectors of each decoder.")
  flags.DEFINE_integer("people", 3, "People in Fig. 5.")
  flags.DEFINE_integer("size_px", 512, "Side of every picture.")


def main() -> None:
  """Reads the flags, renders, writes the folder."""
  values = flags.FLAGS
  keep_freed_memory()
  check_output(values.output)
  _check(values)
  page = draw_pictures(
    values.output,
    read_networks(values.network),
    dataset=values.dataset,
    photos=values.photos,
    meshes=values.meshes,
    bases=values.bases,
    people=values.people,
    size_px=values.size_px,
  )
  print(f"visualize: open {page}")


def _check(values: flags.FlagValues) -> None:
  for flag in ("bases", "people", "size_px"):
    value = getattr(values, flag)
    if value < 1:
      raise UserError(f"--{flag}: expected at least 1, got {value}")
  if values.meshes and not (values.dataset or values.photos):
    raise UserError("--meshes: expected --dataset or --photos beside it")


if __name__ == "__main__":
  command_line.run(main, _define_flags)
