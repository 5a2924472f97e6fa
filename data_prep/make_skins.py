r"""Makes skins for the synthetic world out of fitted photographs.

    python -m data_prep.make_skins --fitted=prepared/fitted \
      --output_file=skins.npz --photos_name="..." --photo_licence="..."

Samples the photographs of each person where the fitted mesh lies over them,
divides the shading out, and completes what no photograph shows from the mirror
image and the neighbours. Beside the skins the file holds backdrops made of the
photographs' own pixels, blurred and shuffled. render_synthetic takes it as
--skins.

Wants large photographs in even light; people who did not agree to it should
not lend strangers their skin.
"""

from collections.abc import Sequence
import itertools
import pathlib

from absl import flags, logging
import jax.numpy as jnp
import numpy as np

from data_prep.fitting.backdrops import shuffled_backdrops
from data_prep.fitting.fit_files import (
  MORPHABLE_MODEL,
  Fits,
  fits_path,
  read_fits,
)
from data_prep.fitting.skin_sampling import SkinMesh, person_skin
from data_prep.photos.photo_sets import PhotoFiles
from data_prep.stages import command_line
from data_prep.stages.flag_words import define_output_file, define_path
from data_prep.stages.progress import progress
from data_prep.stages.rows import PhotoRow, list_manifests, read_shard_rows
from disentangle3d.faces.morphable_model import load_morphable_model
from disentangle3d.faces.skins import Skins, mode_lengths_mm, save_skins
from disentangle3d.geometry import Camera, invert_affine, transform_camera
from disentangle3d.input_files import existing_folder
from disentangle3d.output_files import check_output_file
from disentangle3d.types import UserError


def define_flags() -> None:
  """Defines the photographs, the file and its credit, --backdrops, --seed."""
  define_path("fitted", "The folder that fit_faces wrote.", required=True)
  define_output_file("The skins to write, an .npz.")
  flags.DEFINE_string(
    "photos_name",
    None,
    "What the file calls the photographs; the folder's name where it is not"
    " given.",
  )
  flags.DEFINE_string(
    "photo_licence", "unknown", "The photographs' terms and credit."
  )
  flags.DEFINE_integer(
    "backdrops", 96, "How many backdrops the file holds.", lower_bound=1
  )
  flags.DEFINE_integer("seed", 0, "Shuffles the backdrops.")


def main() -> None:
  """Makes skins, writes them."""
  values = flags.FLAGS
  fitted, output = pathlib.Path(values.fitted), pathlib.Path(values.output_file)
  if output.suffix != ".npz":
    raise UserError(
      f"--output_file: expected a name that ends in .npz, got {output}"
    )
  check_output_file(output)
  existing_folder(fitted, otherwise="; data_prep.fit_faces writes it")
  model = load_morphable_model(fitted / MORPHABLE_MODEL)
  people = _people(fitted)
  mesh = SkinMesh(model)
  skins, smiles = [], []
  with progress("make_skins", total=len(people)) as update:
    for rows, fits in people:
      skins.append(
        person_skin(
          mesh,
          list(_photos(rows)),
          [np.asarray(row.landmarks) for row in rows],
          fits.identity_coefficients[0],
          fits.expression_coefficients,
          _cameras(rows, fits),
        )
      )
      smiles.append(_smiles(fits))
      update(1)
  photos = _photos([row for rows, _ in people for row in rows])
  name = values.photos_name or fitted.resolve().name
  save_skins(
    output,
    Skins(
      albedo=np.stack(skins),
      backdrops=shuffled_backdrops(photos, values.backdrops, seed=values.seed),
      smiles=np.concatenate(smiles),
      modes_mm=mode_lengths_mm(model),
      model=model.name,
      source=f"{len(photos)} photographs of {len(people)} people, {name}",
      licence=f"{values.photo_licence}; the mesh: {model.licence}",
    ),
  )
  logging.info("%s: skins of %d people", output, len(people))


def _photos(rows: Sequence[PhotoRow]) -> PhotoFiles:
  return PhotoFiles([row.image_path for row in rows], most_megapixels=None)


def _people(fitted: pathlib.Path) -> list[tuple[list[PhotoRow], Fits]]:
  """The rows and the fits of each person's photos.

  Raises:
    UserError: No photo was fitted.
  """
  people = []
  for manifest in list_manifests(fitted):
    fits = read_fits(fits_path(manifest))
    place = {name: at for at, name in enumerate(fits.image_id.tolist())}
    rows = [r for r in read_shard_rows(manifest, aligned=True)]
    rows = [r for r in rows if r.status == "ok" and r.image_id in place]
    rows.sort(key=lambda row: (row.subject, row.image_id))
    for _, group in itertools.groupby(rows, key=lambda row: row.subject):
      own = list(group)
      people.append((own, _rows_of(fits, [place[r.image_id] for r in own])))
  if not people:
    raise UserError(f"{fitted}: expected fitted photographs, got none")
  return people


def _rows_of(fits: Fits, places: list[int]) -> Fits:
  return Fits(**{name: array[places] for name, array in vars(fits).items()})


def _smiles(fits: Fits) -> np.ndarray:
  """What a person's other photos have against the most resting one."""
  expressions = fits.expression_coefficients
  resting = int(np.argmin(np.linalg.norm(expressions, axis=1)))
  others = np.delete(expressions, resting, 0)
  return np.asarray(others - expressions[resting], np.float32)


def _cameras(rows: list[PhotoRow], fits: Fits) -> Camera:
  """The fits' cameras, taken from the crops to the photos."""
  camera = Camera(
    scale=jnp.asarray(fits.camera_scale, jnp.float32),
    rotation=jnp.asarray(fits.camera_rotation, jnp.float32),
    translation=jnp.asarray(fits.camera_translation, jnp.float32),
  )
  matrices = np.stack([np.asarray(row.crop_from_photo) for row in rows])
  photo_from_crop = invert_affine(jnp.asarray(matrices, jnp.float32))
  return transform_camera(camera, photo_from_crop)


if __name__ == "__main__":
  command_line.run(main, define_flags)
