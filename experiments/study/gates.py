"""What the demo demands of its own figures."""

import dataclasses

from experiments.measures.reconstruction import SetResults
from experiments.measures.verification import IDENTITY, RESIDUAL, FaceResults
from experiments.sets.heldout import MEAN_SHAPE

AFTER_PRETRAINING = "network after I + II"
AFTER_JOINT = "network after III"
CONTROL = "control: III without L_C"
_RMSE_SHARE = 0.92
_CODE_MARGIN = 10.0
_JOINT_LOSS = 2.0


@dataclasses.dataclass(frozen=True)
class Gate:
  """Something the demo demands of its own figures."""

  text: str
  passed: bool


def demo_gates(photos: SetResults, faces: FaceResults) -> list[Gate]:
  """What must hold; the demo's exit status says whether it does.

  Args:
    photos: 3D errors on people never seen.
    faces: Verification of the same photos, each person of one albedo.
  """

  def rmse(name: str) -> float:
    return float(photos.scores[name].within.mean())

  def auc(kind: str, name: str) -> float:
    return faces.rows[f"{kind}, {name}"].result.auc.mean

  allowed = _RMSE_SHARE * rmse(MEAN_SHAPE)
  pretrained = auc(IDENTITY, AFTER_PRETRAINING)
  return [
    *(
      _gate(
        f"RMSE within 95 mm, {name}",
        rmse(name),
        "at most",
        allowed,
        f"mm, {_RMSE_SHARE} of the mean shape's",
      )
      for name in (AFTER_PRETRAINING, AFTER_JOINT)
    ),
    _gate(
      f"AUC of the identity code, {AFTER_PRETRAINING}",
      pretrained,
      "at least",
      auc(RESIDUAL, AFTER_PRETRAINING) + _CODE_MARGIN,
      f"%, the residual code's + {_CODE_MARGIN:g}",
    ),
    _gate(
      f"AUC of the identity code, {AFTER_JOINT}",
      auc(IDENTITY, AFTER_JOINT),
      "at least",
      pretrained - _JOINT_LOSS,
      f"%, that after I + II - {_JOINT_LOSS:g}",
    ),
  ]


def _gate(
  what: str, value: float, relation: str, bound: float, unit: str
) -> Gate:
  passed = value <= bound if relation == "at most" else value >= bound
  text = f"{what}: {value:.2f}, demanded {relation} {bound:.2f} {unit}"
  return Gate(text, bool(passed))
