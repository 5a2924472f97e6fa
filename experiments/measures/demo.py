"""What the demo measures on people never seen, and what it demands."""

from collections.abc import Mapping
import dataclasses
import functools

import jax
import jax.numpy as jnp
from jaxtyping import Float, UInt8
import numpy as np

from data_prep.datasets.synthetic_set import SyntheticSet
from disentangle3d.evaluation.bootstrap import Interval, paired_bootstrap
from disentangle3d.evaluation.code_scores import CodeScores, score_codes
from disentangle3d.evaluation.pair_plans import usual_plan
from disentangle3d.evaluation.reconstruction import shape_error
from disentangle3d.evaluation.shape_scores import ShapeScores
from disentangle3d.evaluation.verification import bootstrap_auc_difference
from disentangle3d.faces.morphable_model import (
  MorphableModel,
  synthesize_shape,
)
from disentangle3d.faces.synthetic_world import SyntheticWorld
from disentangle3d.geometry import Camera
from disentangle3d.inference import reconstruct
from disentangle3d.training.export import Network
from experiments.measures.codes import encode_photos
from experiments.sets.heldout import (
  MEAN_SHAPE,
  SINGLE_FIT,
  HeldOut,
  heldout_people,
  photos_with_albedo,
  score_heldout,
  true_shapes,
)

AFTER_PRETRAINING = "network after I + II"
AFTER_JOINT = "network after III"
CONTROL = "control: III without L_C"
ALBEDOS = ("per_person", "per_photo")
_FACES = 6
_RMSE_SHARE = 0.92
_CODE_MARGIN = 10.0
_JOINT_LOSS = 2.0


@dataclasses.dataclass(frozen=True, eq=False)
class Face:
  """One photo, and the shapes that were made of it.

  Attributes:
    title: What to call it.
    image: The crop, `[112, 96, 3]` uint8.
    landmarks: In the crop, `[68, 2]`, pixels.
    visibility: `[68]`.
    fit: The shape of the landmark fit, `[V, 3]`, mm.
    fit_camera: The camera of the fit.
    shape: The network's full shape, `[V, 3]`, mm.
    identity_shape: The network's identity shape, `[V, 3]`, mm.
  """

  title: str
  image: UInt8[np.ndarray, "112 96 3"]
  landmarks: Float[np.ndarray, "68 2"]
  visibility: Float[np.ndarray, "68"]
  fit: Float[np.ndarray, "V 3"]
  fit_camera: Camera
  shape: Float[np.ndarray, "V 3"]
  identity_shape: Float[np.ndarray, "V 3"]


@dataclasses.dataclass(frozen=True)
class Gate:
  """Something the demo demands of its own figures."""

  text: str
  passed: bool


@dataclasses.dataclass(frozen=True, eq=False)
class Results:
  """All figures of a demo.

  Attributes:
    settings: What the world was made of.
    heldout: The photos measured on.
    shapes: RMSE by method.
    identity: Verification by albedo and network's identity code; under the
      albedo `per_person` the single-image fit's coefficients as well.
    residual: The same of the residual code.
    faces: Photos to show, with what the network after III makes of them.
    errors_mm: Distance of each vertex of those faces to the truth, `[_, V]`;
      NaN beyond 95 mm from the nose tip.
    truths: The true shapes of those faces, `[_, V, 3]`, mm.
  """

  settings: SyntheticSet
  heldout: HeldOut
  shapes: Mapping[str, ShapeScores]
  identity: Mapping[str, Mapping[str, CodeScores]]
  residual: Mapping[str, Mapping[str, CodeScores]]
  faces: list[Face]
  errors_mm: np.ndarray
  truths: np.ndarray

  def gates(self) -> list[Gate]:
    """What must hold; the demo's exit status says whether it does."""
    allowed = _RMSE_SHARE * self.rmse(MEAN_SHAPE)
    gates = [
      _gate(
        f"RMSE within 95 mm, {name}",
        self.rmse(name),
        "at most",
        allowed,
        f"mm, {_RMSE_SHARE} of the mean shape's",
      )
      for name in (AFTER_PRETRAINING, AFTER_JOINT)
    ]
    pretrained = self.auc(AFTER_PRETRAINING)
    residual = self.residual[ALBEDOS[0]][AFTER_PRETRAINING].result.auc.mean
    return [
      *gates,
      _gate(
        f"AUC of the identity code, {AFTER_PRETRAINING}",
        pretrained,
        "at least",
        residual + _CODE_MARGIN,
        f"%, the residual code's + {_CODE_MARGIN:g}",
      ),
      _gate(
        f"AUC of the identity code, {AFTER_JOINT}",
        self.auc(AFTER_JOINT),
        "at least",
        pretrained - _JOINT_LOSS,
        f"%, that after I + II - {_JOINT_LOSS:g}",
      ),
    ]

  def rmse(self, name: str) -> float:
    """Mean RMSE within 95 mm of a method, mm."""
    return float(self.shapes[name].within.mean())

  def auc(self, name: str) -> float:
    """AUC of a network's identity code, percent, albedo per_person."""
    return self.identity[ALBEDOS[0]][name].result.auc.mean

  def rmse_difference(self, first: str, second: str) -> Interval:
    """RMSE of one method minus another's, mm, people drawn again."""
    return paired_bootstrap(
      self.shapes[first].within,
      self.shapes[second].within,
      groups=self.heldout.photos.person,
    )

  def auc_difference(self, first: str, second: str, albedo: str) -> Interval:
    """AUC of one identity code minus another's, percentage points."""
    rows = self.identity[albedo]
    return bootstrap_auc_difference(
      rows[first].scores,
      rows[second].scores,
      rows[first].pairs,
      self.heldout.photos.person,
    )


def evaluate(
  settings: SyntheticSet,
  world: SyntheticWorld,
  fitter: MorphableModel,
  networks: Mapping[str, Network],
) -> Results:
  """Measures networks on the held-out people of a world."""
  heldout = heldout_people(settings, world, fitter)
  people = heldout.photos.person
  plan = usual_plan(people)
  identity: dict[str, dict[str, CodeScores]] = {}
  residual: dict[str, dict[str, CodeScores]] = {}
  for albedo in ALBEDOS:
    images = photos_with_albedo(heldout, albedo)
    identity[albedo], residual[albedo] = {}, {}
    for name, network in networks.items():
      codes = encode_photos(network, images)
      identity[albedo][name] = score_codes(codes.identity, people, plan)
      residual[albedo][name] = score_codes(codes.residual, people, plan)
    identity[albedo][SINGLE_FIT] = score_codes(
      heldout.single.identity_coefficients, people, plan
    )
  rows = _rows_to_show(heldout)
  truths, _ = true_shapes(heldout, rows)
  faces = _faces(heldout, rows, networks[AFTER_JOINT])
  return Results(
    settings=settings,
    heldout=heldout,
    shapes=score_heldout(heldout, networks),
    identity=identity,
    residual=residual,
    faces=faces,
    errors_mm=_errors(faces, truths, fitter),
    truths=truths,
  )


def _gate(
  what: str, value: float, relation: str, bound: float, unit: str
) -> Gate:
  passed = value <= bound if relation == "at most" else value >= bound
  text = f"{what}: {value:.2f}, demanded {relation} {bound:.2f} {unit}"
  return Gate(text, bool(passed))


def _rows_to_show(heldout: HeldOut) -> np.ndarray:
  """One photo of each of the first people, at yaws from 0 upwards."""
  people = np.unique(heldout.photos.person)[:_FACES]
  yaw_deg = np.degrees(np.abs(heldout.photos.yaw_rad))
  rows = []
  for number, person in enumerate(people):
    theirs = np.flatnonzero(heldout.photos.person == person)
    rows.append(theirs[np.argmin(np.abs(yaw_deg[theirs] - 12 * number))])
  return np.array(rows)


def _faces(heldout: HeldOut, rows: np.ndarray, network: Network) -> list[Face]:
  photos, fits = heldout.photos, heldout.multi
  run = jax.jit(functools.partial(reconstruct, model=network.model))
  made = jax.device_get(run(network.params, jnp.asarray(photos.image[rows])))
  fitted = synthesize_shape(
    heldout.fitter,
    jnp.asarray(fits.identity_coefficients[rows]),
    jnp.asarray(fits.expression_coefficients[rows]),
  )
  faces = []
  for place, row in enumerate(rows):
    yaw_deg = np.degrees(photos.yaw_rad[row])
    faces.append(
      Face(
        title=f"person {photos.person[row]}, yaw {yaw_deg:.0f}°",
        image=photos.image[row],
        landmarks=photos.landmarks[row],
        visibility=photos.visibility[row],
        fit=np.asarray(fitted[place]),
        fit_camera=jax.tree.map(lambda leaf, r=row: leaf[r], fits.camera),
        shape=made.shape[place],
        identity_shape=made.identity_shape[place],
      )
    )
  return faces


def _errors(
  faces: list[Face], truths: np.ndarray, fitter: MorphableModel
) -> np.ndarray:
  error = shape_error(
    np.stack([face.shape for face in faces]),
    truths,
    landmark_vertices=np.asarray(fitter.landmark_vertices),
  )
  return np.where(error.inside, error.distance_mm, np.nan)
