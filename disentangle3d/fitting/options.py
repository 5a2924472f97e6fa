"""How `fit_landmarks` weighs, and when it stops."""

import dataclasses

from disentangle3d.types import UserError, check_choice

ROBUST_COSTS = ("none", "huber", "geman_mcclure")
NOISES = ("calibrated", "isotropic")


@dataclasses.dataclass(frozen=True)
class FitOptions:
  """How `fit_landmarks` weighs the prior and when it stops; hashable.

  Attributes:
    landmark_std_px: Standard deviation of the landmarks' noise, pixels; its
      square weighs the coefficients' prior against the landmarks. 0 is Eq. 7
      as printed, without a prior. With calibrated noise it is only the unit
      that whitened distances are counted in.
    max_iterations: At most so many alternations (camera, expression,
      identity); the T of `FitResult.objective`.
    tolerance: A subject stops after an alternation that lowered its objective
      by no more than this part of it.
    camera_steps: Damped Gauss-Newton steps of every camera an alternation.
    solver_tolerance: How far each linear step is solved: the part of its
      gradient that may remain.
    max_solver_iterations: At most so many conjugate gradient iterations a
      linear step.
    extrapolated_rounds: After each alternation a subject goes on along what
      its last so many alternations did, as far as its objective falls; 0 is
      the plain alternation.
    robust: What a landmark's distance r costs, with k = robust_scale_px:
      `"none"` r^2; `"huber"` r^2 up to k and 2 k r - k^2 beyond;
      `"geman_mcclure"` k^2 r^2 / (k^2 + r^2), which stops at k^2. Whitened
      distances, where the noise is calibrated.
    robust_scale_px: From where on a landmark counts as an outlier, pixels;
      three standard deviations of the landmarks' noise by default.
    noise: `"isotropic"` takes `landmark_std_px` for all, which fits scans best;
      `"calibrated"` whitens distances by the covariance that the model's
      landmark calibration gives each landmark, where it gives one.
    noise_factor: What calibrated covariances are multiplied by.
    expression_std: Standard deviation of the expression coefficients' prior;
      1 is the model's own, which for modes made of blendshapes is that of
      random expressions, not of people's.
    identity_std: Standard deviation of the identity coefficients' prior about
      its mean; less than 1 where something knows more of the person than that
      it is one, and gives `fit_landmarks` the `identity_mean`.

  Raises:
    UserError: A number is out of range.
  """

  landmark_std_px: float = 1.5
  max_iterations: int = 30
  tolerance: float = 1e-3
  camera_steps: int = 2
  solver_tolerance: float = 1e-3
  max_solver_iterations: int = 100
  extrapolated_rounds: int = 3
  robust: str = "none"
  robust_scale_px: float = 4.5
  noise: str = "isotropic"
  noise_factor: float = 1.0
  expression_std: float = 1.0
  identity_std: float = 1.0

  def __post_init__(self) -> None:
    for name, low in (
      ("landmark_std_px", 0),
      ("tolerance", 0),
      ("extrapolated_rounds", 0),
      ("solver_tolerance", 0),
      ("max_iterations", 1),
      ("camera_steps", 1),
      ("max_solver_iterations", 1),
    ):
      value = getattr(self, name)
      if not low <= value < float("inf"):
        raise UserError(f"{name}: expected at least {low}, got {value}")
    check_choice("robust", self.robust, ROBUST_COSTS)
    check_choice("noise", self.noise, NOISES)
    for name in (
      "robust_scale_px",
      "noise_factor",
      "expression_std",
      "identity_std",
    ):
      value = getattr(self, name)
      if not 0 < value < float("inf"):
        raise UserError(f"{name}: expected more than 0, got {value}")


DEFAULT_OPTIONS = FitOptions()
# About what a network says of a face, in standard deviations of the 3DMM;
# chosen on York's development people (docs/measurements/real_scans.md).
ABOUT_A_NETWORK = FitOptions(identity_std=0.5, expression_std=0.5)


@dataclasses.dataclass(frozen=True)
class CalibrationOptions:
  """What decides a calibration.

  Attributes:
    rounds: Of the offsets, across the face and then in depth.
    working_std_mm: The noise that offsets are estimated under; far off the
      true one costs efficiency, not bias.
    offset_std_mm: Prior of an offset in x and in y.
    depth_std_mm: Prior of an offset in z, which only turned faces show: what
      detectors mark is on the skin.
    noise_std_mm: The noise, the same everywhere, that its estimate starts from.
    noise_rounds: Of the noise; see `landmark_noise` for why one.
    yaw_edges_deg: Where ranges of |yaw| with a covariance of their own end.
    least_photos: A range with fewer is part of the one before.
  """

  rounds: int = 5
  working_std_mm: float = 3.0
  offset_std_mm: float = 10.0
  depth_std_mm: float = 1.0
  noise_std_mm: float = 2.5
  noise_rounds: int = 1
  yaw_edges_deg: tuple[float, ...] = (15.0, 30.0, 45.0)
  least_photos: int = 100


DEFAULT_CALIBRATION = CalibrationOptions()
