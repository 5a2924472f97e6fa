r"""The paper's Table 3, and more, on any set of faces.

    python -m experiments.evaluate_verification \
      --network="after I + II=runs/demo/training/export/decoders" \
      --network="after III=runs/demo/training" \
      --dataset=runs/demo/dataset --output=runs/demo/evaluation/verification

`--dataset` takes the held-out people of a dataset of render_synthetic or
build_dataset, `--lfw_pairs` the published list with the photographs
(`--lfw_photos`), which are detected and aligned in `--workdir`, `--cfp` the
published folder, `--ytf_splits` the list with the folder that align_faces made
(`--ytf_aligned`), `--bin` files like lfw.bin. Several sets may be asked for at
once. `--morphable_model` and `--eigenfaces_from` add the rows of single-image
fits and of eigenfaces to published sets. A photograph without a face does not
stop the tables: see `--missing`.
"""

from collections.abc import Mapping
import pathlib

from absl import flags

from data_prep.stages import command_line
from data_prep.stages.flag_values import check_inputs
from data_prep.stages.flag_words import (
  define_landmark_calibration,
  define_morphable_model,
  define_networks,
  define_path,
  define_paths,
  was,
)
from disentangle3d.crop_templates import SPHEREFACE
from disentangle3d.faces.morphable_model import load_morphable_model
from disentangle3d.machine import keep_freed_memory
from disentangle3d.training.export import Network
from disentangle3d.types import UserError
from experiments.evaluations.flags import define_findings, define_set_locator
from experiments.evaluations.textures import textures_of
from experiments.evaluations.verification import TITLE, evaluate_verification
from experiments.measures.screening import KnownPeople, known_people
from experiments.pages.findings import output_of
from experiments.sets.alignment import (
  ALIGNED_BY,
  LANDMARKS,
  PhotoSource,
  aligned_folder,
)
from experiments.sets.faces import training_images
from experiments.sets.missing import CROP, MISSING
from experiments.sets.networks import check_crops, read_networks, template_of
from experiments.sets.published import read_face_sets
from experiments.sets.rivals import Rivals
from experiments.sets.scores import read_scores

_INPUTS = (
  *("network", "trunk", "scores", "dataset", "lfw_pairs", "lfw_photos"),
  *("lfw_five_points", "lfw_aligned", "cfp", "cfp_aligned", "ytf_splits"),
  *("ytf_aligned", "bin", "morphable_model", "eigenfaces_from", "trained_on"),
)


def define_flags() -> None:
  """Defines what is compared, on which sets, and --output."""
  define_networks(required=False)
  define_findings()
  _define_others()
  define_paths(
    "dataset",
    "A folder of build_dataset or render_synthetic, whose held-out people are"
    " verified.",
  )
  was(synthetic="dataset", photos="dataset")
  _define_lfw_and_cfp()
  _define_ytf()
  define_paths("bin", "A file like lfw.bin.")
  flags.DEFINE_enum(
    "missing",
    CROP,
    MISSING,
    "What becomes of photographs of LFW and CFP, and videos of YouTube Faces,"
    " in which no face was found: crop takes the middle of the picture for the"
    " face, score gives their pairs the lowest score, fail refuses the set. An"
    " empty image of a .bin has no middle, so crop is score.",
  )


def _define_others() -> None:
  """What networks are compared and fused with."""
  define_paths(
    "trunk",
    "A network whose trunk's own feature is compared and fused with, as"
    " NAME=PATH or PATH: what import_trunk wrote, or any trained network.",
  )
  flags.DEFINE_bool(
    "dlib", False, "Whether dlib's 128 numbers are compared and fused with too."
  )
  define_paths(
    "scores",
    "The scores of another system to fuse with, as NAME=PATH or PATH, one a"
    " line (.txt) or [P] (.npy) in the order of the set's pairs; for one set"
    " only.",
  )
  define_morphable_model(
    "The 3D morphable model that is fitted to the landmarks of each photograph"
    " of a published set, its coefficients compared too; a dataset brings its"
    " own."
  )
  define_landmark_calibration()
  define_path(
    "eigenfaces_from",
    "A dataset whose training people, of no published set, eigenfaces are"
    " learnt from; --dataset brings its own.",
  )
  define_path(
    "trained_on",
    "The dataset that networks were trained on; a further table leaves out"
    " faces that look, by the first --trunk's feature, like somebody in it.",
  )
  flags.DEFINE_float(
    "alike",
    0.6,
    "From which cosine on with the mean of a person's photos a face is taken"
    " for that person's.",
    lower_bound=-1,
    upper_bound=1,
  )


def _define_lfw_and_cfp() -> None:
  define_path("lfw_pairs", "The pairs.txt of LFW.")
  define_path(
    "lfw_photos", "Where LFW's photographs are, a folder, .zip or .tgz."
  )
  define_path(
    "lfw_five_points",
    "A published list of five points of LFW's photographs, in place of MTCNN.",
  )
  define_path(
    "lfw_aligned",
    "In place of --lfw_photos, the folder that align_faces made of LFW.",
  )
  define_path(
    "cfp",
    "The published folder of Celebrities in Frontal-Profile, with Data and"
    " Protocol in it.",
  )
  define_path(
    "cfp_aligned",
    "The folder that align_faces made of --cfp's Data/Images, if there is one.",
  )
  define_path(
    "workdir",
    "The folder in which the photographs of --lfw_photos and --cfp are"
    " aligned; a later run takes what is there.",
  )
  flags.DEFINE_enum(
    "aligned_by",
    LANDMARKS,
    ALIGNED_BY,
    "What the photographs of --workdir are aligned by: the landmarks of"
    " --locator, as the photographs of a dataset, or the five points of the"
    " detector or the list themselves.",
  )
  define_set_locator()


def _define_ytf() -> None:
  define_path(
    "ytf_splits", "The splits.txt or meta_and_splits.mat of YouTube Faces."
  )
  define_path(
    "ytf_aligned", "The folder that align_faces made of YouTube Faces."
  )
  flags.DEFINE_integer(
    "ytf_frames",
    100,
    "How many frames of a video are taken at most.",
    lower_bound=1,
  )


def main() -> None:
  """Reads the flags, measures, writes the folder, prints the AUCs."""
  values = flags.FLAGS
  keep_freed_memory()
  with output_of(values.output, TITLE):
    page = _evaluate(values)
  print(f"evaluate_verification: open {page}")


def _evaluate(values: flags.FlagValues) -> pathlib.Path:
  if not (values.network or values.trunk or values.dlib):
    raise UserError("expected at least one of --network, --trunk, --dlib")
  if values.trained_on and not values.trunk:
    raise UserError("--trunk: expected beside --trained_on")
  check_inputs(values, *_INPUTS)
  networks = read_networks(values.network)
  trunks = read_networks(values.trunk, flag="trunk")
  template = _template(values, networks, trunks)
  textures = textures_of(trunks, with_dlib=values.dlib)
  scores = read_scores(values.scores)
  # What is detected and aligned takes hours, so it comes last.
  return evaluate_verification(
    values.output,
    networks,
    read_face_sets(
      datasets=values.dataset,
      lfw=_lfw(values, template),
      cfp=_cfp(values, template),
      ytf=_ytf(values, template),
      ytf_frames=values.ytf_frames,
      bins=values.bin,
      missing=values.missing,
      rivals=_rivals(values),
    ),
    described=textures,
    other_scores=scores,
    trained_on=_trained_on(values, trunks),
  )


def _template(
  values: flags.FlagValues,
  networks: Mapping[str, Network],
  trunks: Mapping[str, Network],
) -> str:
  """What all crops are aligned by: as all networks and trunks see them."""
  seeing = {
    f"--{flag}={name}": one
    for flag, given in (("network", networks), ("trunk", trunks))
    for name, one in given.items()
  }
  for dataset in (
    *(values.dataset or ()),
    *filter(None, (values.trained_on, values.eigenfaces_from)),
  ):
    check_crops(seeing, dataset)
  template = template_of(seeing)
  if template != SPHEREFACE and (values.bin or values.dlib):
    raise UserError(
      "--bin, --dlib: expected networks that see crops by five points, got"
      f" those of {template!r}"
    )
  return template


def _ytf(values: flags.FlagValues, template: str) -> tuple[str, str] | None:
  given = _together(values, "ytf_splits", "ytf_aligned")
  if given is not None:
    aligned_folder(
      PhotoSource("ytf", aligned=given[1], template=template), [], []
    )
  return given


def _rivals(values: flags.FlagValues) -> Rivals:
  path, learnt = values.morphable_model, values.eigenfaces_from
  return Rivals(
    fitter=load_morphable_model(path) if path else None,
    landmark_calibration=values.landmark_calibration,
    training_images=training_images(learnt) if learnt else None,
  )


def _trained_on(
  values: flags.FlagValues, trunks: Mapping[str, Network]
) -> KnownPeople | None:
  if not values.trained_on:
    return None
  trunk = next(iter(trunks.values()))
  return known_people(values.trained_on, trunk, values.alike)


def _lfw(
  values: flags.FlagValues, template: str
) -> tuple[str, PhotoSource] | None:
  source = _source(
    values,
    "lfw",
    template=template,
    photos=values.lfw_photos,
    five_points=values.lfw_five_points,
  )
  if not values.lfw_pairs:
    if source.aligned or source.photos:
      raise UserError("--lfw_pairs: expected beside LFW's photographs")
    return None
  if not source.aligned and not source.photos:
    raise UserError(
      "--lfw_photos: expected beside --lfw_pairs, or --lfw_aligned"
    )
  source.check()
  return values.lfw_pairs, source


def _cfp(
  values: flags.FlagValues, template: str
) -> tuple[str, PhotoSource] | None:
  if not values.cfp:
    return None
  source = _source(values, "cfp", template=template)
  source.check()
  return values.cfp, source


def _source(
  values: flags.FlagValues, flag: str, *, template: str, **others: str | None
) -> PhotoSource:
  return PhotoSource(
    flag,
    aligned=getattr(values, f"{flag}_aligned"),
    workdir=values.workdir,
    aligned_by=values.aligned_by,
    locator=values.locator,
    template=template,
    **others,
  )


def _together(
  values: flags.FlagValues, one: str, other: str
) -> tuple[str, str] | None:
  found = getattr(values, one), getattr(values, other)
  if (found[0] is None) != (found[1] is None):
    raise UserError(f"--{one}, --{other}: expected both or neither")
  return None if found[0] is None else found


if __name__ == "__main__":
  command_line.run(main, define_flags)
