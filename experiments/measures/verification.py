"""What is measured on a set of faces: codes, baselines, fusion, galleries."""

from collections.abc import Callable, Mapping
import dataclasses
import types
from typing import Protocol

from jaxtyping import Array, Float, Int, UInt8
import numpy as np

from disentangle3d.evaluation.code_scores import CodeScores, score_pairs
from disentangle3d.evaluation.fusion import NORMALISATIONS, fuse_scores
from disentangle3d.evaluation.identification import (
  IdentificationResult,
  identify,
)
from disentangle3d.evaluation.presets import PRESETS, verify_codes
from disentangle3d.evaluation.verification import VerificationResult, verify
from disentangle3d.training.export import Network
from disentangle3d.types import Latents, UserError
from experiments.measures.codes import encode_crops
from experiments.sets.faces import FaceSet, Images

IDENTITY, RESIDUAL = "identity code", "residual code"
EIGENFACES, PIXELS = "eigenfaces", "raw pixels"
TRUNK = "trunk's feature"
_COEFFICIENTS = "3DMM coefficients, single-image fit"
_FACES, _TURN = 100, 500
_KNOWN_SHARE = 0.7


class Describe(Protocol):
  """Features of crops that are compared by their cosine."""

  def __call__(
    self, images: Images, *, mirrored: bool = False
  ) -> Float[np.ndarray, "P D"]:
    """Of all crops, or of their mirror images."""


@dataclasses.dataclass(frozen=True, eq=False)
class FaceResults:
  """Everything about one set.

  Attributes:
    faces: The set.
    rows: Table 3's rows: codes and other features, the same with mirrored
      photos, baselines.
    presets: By preset and network, its identity code with mirrored photos.
    fusion: By both systems and the normalisation.
    galleries: Identification by row; None where a set does not say who.
  """

  faces: FaceSet
  rows: Mapping[str, CodeScores]
  presets: Mapping[tuple[str, str], VerificationResult]
  fusion: Mapping[str, VerificationResult]
  galleries: Mapping[str, IdentificationResult] | None


def measure_faces(
  faces: FaceSet,
  networks: Mapping[str, Network],
  *,
  described: Mapping[str, Describe] = types.MappingProxyType({}),
  other_scores: Mapping[str, Float[np.ndarray, "Q"]] | None = None,
  seed: int = 0,
) -> FaceResults:
  """Measures networks and baselines on a set.

  Codes are fused with `described` and `other_scores`; where there are neither,
  with eigenfaces, if the set has photos to learn them from.

  Args:
    faces: The set.
    networks: By the names that tables print.
    described: What gives other features, by name: texture's, as a trunk's.
    other_scores: Other systems' scores of the set's pairs, by name.
    seed: Of who is in the gallery.

  Returns:
    `FaceResults`.

  Raises:
    UserError: The folds do not add up, or scores are not one finite number
      a pair; says whose.
  """
  _check_scores(faces, other_scores)
  codes = {name: encode_crops(n, faces.images) for name, n in networks.items()}
  mirrored = {
    name: encode_crops(network, faces.images, mirrored=True)
    for name, network in networks.items()
  }
  features = _features(faces, codes, described)
  turned = {
    f"{IDENTITY}, {name}": latents.identity
    for name, latents in mirrored.items()
  } | {
    name: describe(faces.images, mirrored=True)
    for name, describe in described.items()
  }
  rows = _rows(faces, features, turned)
  galleries = None
  if faces.people is not None:
    seen = slice(None) if faces.refused is None else ~faces.refused
    galleries = {
      name: identify_in_gallery(feature[seen], faces.people[seen], seed=seed)
      for name, feature in features.items()
    }
  presets = {
    (preset, name): verify_codes(
      faces.pool(codes[name].identity),
      faces.pairs,
      mirrored=faces.pool(mirrored[name].identity),
      refused=faces.refused,
      preset=preset,
    )
    for preset in PRESETS
    for name in networks
  }
  return FaceResults(
    faces,
    rows,
    presets,
    _fusion(faces, rows, networks, _rivals(rows, described, other_scores)),
    galleries,
  )


def _rows(
  faces: FaceSet,
  features: Mapping[str, Float[np.ndarray, "U D"]],
  turned: Mapping[str, Float[Array | np.ndarray, "P D"]],
) -> dict[str, CodeScores]:
  """Of each feature, and of some with that of the mirrored photo beside it."""
  rows = {
    name: score_pairs(feature, faces.pairs, refused=faces.refused)
    for name, feature in features.items()
  }
  for name, feature in turned.items():
    rows[f"{name}, with mirrored photo"] = score_pairs(
      features[name],
      faces.pairs,
      mirrored=faces.pool(feature),
      refused=faces.refused,
    )
  return rows


def identify_in_gallery(
  features: Float[np.ndarray, "U D"], people: Int[np.ndarray, "U"], *, seed: int
) -> IdentificationResult:
  """Most people leave their first photo in the gallery; the rest are unknown.

  Raises:
    UserError: There are fewer than two people, or nobody has two photos.
  """
  names, owner = np.unique(people, return_inverse=True)
  if len(names) < 2:
    raise UserError(f"people: expected two or more, got {len(names)}")
  order = np.random.default_rng(seed).permutation(len(names))
  known = order[: max(round(_KNOWN_SHARE * len(names)), 1)]
  first = np.unique(owner, return_index=True)[1]
  gallery = np.sort(first[known])
  probes = np.setdiff1d(np.arange(len(owner)), gallery)
  return identify(
    features[gallery],
    owner[gallery].astype(np.int32),
    features[probes],
    owner[probes].astype(np.int32),
  )


def eigenfaces(
  training_images: UInt8[np.ndarray, "T 112 96 3"], images: Images
) -> Float[np.ndarray, "P D"]:
  """Coordinates in the first 100 principal components of other people."""
  rows = _grey(training_images)
  mean = rows.mean(0)
  centred = rows - mean
  # The small of the two matrices has the same components.
  weights, vectors = np.linalg.eigh(centred @ centred.T)
  kept = np.argsort(weights)[::-1][: min(_FACES, len(rows) - 1)]
  components = centred.T @ vectors[:, kept]
  components /= np.linalg.norm(components, axis=0)
  return _by_turns(images, lambda part: (_grey(part) - mean) @ components)


def _raw_pixels(images: Images) -> Float[np.ndarray, "P D"]:
  """Grey values, each photo's mean taken off."""
  return _by_turns(images, lambda part: _grey(part).astype(np.float32))


def _features(
  faces: FaceSet,
  codes: Mapping[str, Latents],
  described: Mapping[str, Describe],
) -> dict[str, Float[np.ndarray, "U D"]]:
  """Everything that is compared by cosine, unit by unit."""
  features = {
    f"{kind}, {name}": faces.pool(getattr(latents, field))
    for kind, field in ((IDENTITY, "identity"), (RESIDUAL, "residual"))
    for name, latents in codes.items()
  }
  for name, describe in described.items():
    features[name] = faces.pool(describe(faces.images))
  if faces.fitted is not None:
    features[_COEFFICIENTS] = faces.pool(faces.fitted)
  if faces.training_images is not None:
    features[EIGENFACES] = faces.pool(
      eigenfaces(faces.training_images, faces.images)
    )
  features[PIXELS] = faces.pool(_raw_pixels(faces.images))
  return features


def _rivals(
  rows: Mapping[str, CodeScores],
  described: Mapping[str, Describe],
  other_scores: Mapping[str, np.ndarray] | None,
) -> dict[str, np.ndarray]:
  """The scores that codes are fused with, by whose they are."""
  rivals = {name: rows[name].scores for name in described}
  rivals |= other_scores or {}
  if not rivals and EIGENFACES in rows:
    rivals[EIGENFACES] = rows[EIGENFACES].scores
  return rivals


def _fusion(
  faces: FaceSet,
  rows: Mapping[str, CodeScores],
  networks: Mapping[str, Network],
  others: Mapping[str, np.ndarray],
) -> dict[str, VerificationResult]:
  """Each system by itself, then their sum after either normalisation."""
  if not others or not networks:
    return {}
  pairs = faces.pairs
  fused = {
    own: rows[own].result
    for own in (f"{IDENTITY}, {name}" for name in networks)
  }
  for name, scores in others.items():
    try:
      fused[name] = verify(scores, pairs.same, folds=pairs.fold)
      for network in networks:
        own = f"{IDENTITY}, {network}"
        for normalisation in NORMALISATIONS:
          both = fuse_scores(
            rows[own].scores,
            scores,
            pairs.same,
            folds=pairs.fold,
            normalisation=normalisation,
          )
          fused[f"{own} + {name}, {normalisation}"] = verify(
            both, pairs.same, folds=pairs.fold
          )
    except ValueError as error:
      raise UserError(f"{name}: {error}") from error
  return fused


def _check_scores(
  faces: FaceSet, other_scores: Mapping[str, np.ndarray] | None
) -> None:
  count = len(faces.pairs.same)
  for name, scores in (other_scores or {}).items():
    if scores.shape != (count,):
      raise UserError(
        f"{name}: expected {count} scores, one a pair of {faces.name}, got"
        f" shape {list(scores.shape)}"
      )


def _grey(images: UInt8[np.ndarray, "B 112 96 3"]) -> np.ndarray:
  grey = images.mean(-1, dtype=np.float64).reshape(len(images), -1)
  return grey - grey.mean(1, keepdims=True)


def _by_turns(
  images: Images, feature: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
  """Features of all crops, so many in memory at a time."""
  starts = range(0, len(images), _TURN)
  return np.concatenate(
    [feature(images[np.arange(s, min(s + _TURN, len(images)))]) for s in starts]
  )
