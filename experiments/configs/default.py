"""The whole schema of a training run, with the paper's sizes.

What: the three phases of 3.3.3. `paper.py`, `demo.py`, `fake_data.py` and
`smoke.py` override what differs.
Command: python -m experiments.train --config=<name> \
  --workdir=<folder> --config.examples.path=<folder>
"""

from ml_collections import ConfigDict, config_dict

from disentangle3d.crop_templates import SPHEREFACE
from disentangle3d.network.margins import MARGINS
from disentangle3d.training.phase_losses import LOSSES
from disentangle3d.types import IDENTITY_DIM, NUM_VERTICES, RESIDUAL_DIM
from experiments.configs._old_names import (
  ByPhase,
  DecodersConfig,
  ExamplesConfig,
  JointConfig,
  LatentsConfig,
  OptimizerConfig,
  RunConfig,
)

PHASES = ("latents", "decoders", "joint_recognition", "joint_reconstruction")
JOINT = PHASES[2:]


def optimizer(name: str, rate: float) -> ConfigDict:
  """The optimizer setting of one module, at a constant rate."""
  config = OptimizerConfig()
  config.name = name  # any optax optimizer's, as "sgd" or "adam"
  config.rate = rate  # peak learning rate
  # By optax's names, and any others of the optimizer; as a flag
  # --config...arguments="{'nesterov': True}". None is optax's default, but
  # SphereFace's 0.9 for sgd's momentum.
  config.arguments = ConfigDict()
  for argument in ("momentum", "b1", "b2", "eps"):
    config.arguments[argument] = config_dict.placeholder(float)
  config.weight_decay = 0.0  # of kernels only
  # Of an encoder: its trunk's rate over that of its two FC layers; 0: the
  # trunk stands still.
  config.trunk_factor = 1.0
  config.clip_norm = 0.0  # longest gradient of the module; 0: any
  config.schedule = ConfigDict()
  config.schedule.kind = "constant"  # "warmup_cosine" or "step_decay"
  config.schedule.warmup_steps = 0  # warmup_cosine: linear from 0
  config.schedule.decay_steps = 0  # warmup_cosine: where the cosine ends
  config.schedule.boundaries = ()  # step_decay: steps at which to decay
  config.schedule.final_factor = 0.0  # the factor there, of the peak
  return config


def warmup_cosine(
  name: str, rate: float, *, warmup_steps: int, decay_steps: int
) -> ConfigDict:
  """As `optimizer`, with warm-up and a cosine down to 0."""
  config = optimizer(name, rate)
  config.schedule.kind = "warmup_cosine"
  config.schedule.warmup_steps = warmup_steps
  config.schedule.decay_steps = decay_steps
  return config


def step_decay(
  name: str, rate: float, *, boundaries: tuple[int, ...], factor: float = 0.1
) -> ConfigDict:
  """As `optimizer`, the rate times `factor` at each boundary."""
  config = optimizer(name, rate)
  config.schedule.kind = "step_decay"
  config.schedule.boundaries = boundaries
  config.schedule.final_factor = factor
  return config


def get_config() -> ConfigDict:
  """The schema; every leaf is read."""
  config = RunConfig()
  config.seed = 0  # of params, orders and draws; phase k takes seed + k
  # Start from the params of this export or workdir; else fresh.
  config.init_from = config_dict.placeholder(str)
  config.log_every = 100  # steps
  config.checkpoint_every = 1000  # steps
  config.run_phases = PHASES  # which, in order
  config.export_phases = ("decoders",)  # also to export/<name>, as they end
  config.residual_branch = True  # False: its decoder stays as it starts, near 0

  config.model = ConfigDict()  # fields of FaceModel
  config.model.trunk = "sphere20"  # 3.3.1; see trunks.TRUNKS
  config.model.identity_dim = IDENTITY_DIM  # 3.3.1
  config.model.residual_dim = RESIDUAL_DIM  # 3.3.1
  config.model.num_vertices = NUM_VERTICES  # 3.3.1
  config.model.dtype = "float32"  # of the computation; "bfloat16" on GPU, TPU
  # Codes of the trunk's last map as well as of its feature; False: the paper.
  config.model.identity_from_map = False
  config.model.residual_from_map = False
  # What the dataset's crops are aligned by; "whole_face": all 68 landmarks.
  config.model.template = SPHEREFACE

  config.examples = _examples()
  config.augmentation = _augmentation()
  config.identity_head = _identity_head()

  # What to measure while training, and after how many steps: on the people
  # held out of examples.path `reconstruction` (L_R, mm²) and `verification`
  # (AUC of the identity codes, percent), and what `train` is given. 0: never.
  config.evaluators = ConfigDict()
  config.evaluators.reconstruction = ConfigDict({"every": 0})
  config.evaluators.verification = ConfigDict({"every": 0})

  config.phases = ByPhase()
  latents = config.phases.latents = _phase(LatentsConfig())
  latents.weights.latent = 1.0
  latents.optimizers.encoder = optimizer("sgd", 0.01)
  decoders = config.phases.decoders = _phase(DecodersConfig())
  decoders.examples = "prior"  # "dataset": its own latents, see design
  decoders.weights.identity_decoder = 1.0
  decoders.weights.residual_decoder = 1.0
  decoders.optimizers.decoders = optimizer("adam", 0.5)
  for name, weight in zip(JOINT, (0.5, 1.0), strict=True):
    joint = config.phases[name] = _phase(JointConfig())
    # At phase I's 0.01 the codes saturate within 20 steps: L_R is in mm².
    joint.optimizers.encoder = optimizer("sgd", 1e-3)
    joint.optimizers.decoders = optimizer("adam", 2e-3)
    joint.optimizers.identity_head = optimizer("sgd", 0.01)
    joint.weights.reconstruction = weight  # lambda_R, 3.3.3
    joint.weights.identification = 1.0  # Eq. 5; 0 is the control
    # Not in the paper: L_R of each part by itself, which ties it to the fit's.
    joint.weights.identity_shape = 0.0
    joint.weights.residual_shape = 0.0
    joint.head_sharpness = 20.0  # start from class means; 0: a cold head
    joint.takes_over = name == "joint_reconstruction"  # optimizer memory
    joint.plateau = ConfigDict()
    joint.plateau.enabled = False  # stop when the epoch mean saturates
    joint.plateau.relative = 0.01  # our choice: less gain is saturation
    joint.plateau.patience_epochs = 1  # our choice
    joint.plateau.max_epochs = 10  # 3.3.3: "usually within 10 epochs"
  return config


def keep_identity_out(config: ConfigDict, *, identity_shape: float) -> None:
  """Gives phase III the losses that keep the residual code from telling who.

  Not the paper's, whose residual code tells more after III than before; the
  weights were chosen by people held out (docs/measurements/learning.md,
  docs/measurements/real_photographs.md).

  Args:
    config: Of `get_config`.
    identity_shape: Weight of the identity part's own L_R.
  """
  for name in JOINT:
    weights = config.phases[name].weights
    weights.identity_shape = identity_shape
    weights.residual_shape = 1.0
    weights.residual_correlation = 3.0
    weights.residual_likeness = 3.0


def _examples() -> ExamplesConfig:
  """Where the examples come from of phases whose own are "dataset"."""
  config = ExamplesConfig()
  # "grain" reads records from disk, or from memory (cache_mib);
  # "device_resident" holds the whole split on the devices, 32.3 kB a crop;
  # "synthetic" renders in the step: the photos of a synthetic dataset, with
  # its fitted coefficients, or without one the people below, with true ones;
  # "trunk_features" is for a trunk that stands still: init_from's of every
  # crop, computed once.
  config.kind = "grain"
  # Dataset folder (data_prep.render_synthetic or build_dataset).
  config.path = config_dict.placeholder(str)
  config.verify_checksums = True  # read every file of it once, at the start
  config.cache_mib = 4096  # a split of fewer decoded MiB is held in memory
  # Parts of the examples, each for a part of the batch: processes whose number
  # divides it read their own parts' files only. Decides the order.
  config.lanes = 1
  # Where the files of a dataset in a store are copied to, and how much of them.
  config.staging_folder = config_dict.placeholder(str)
  config.staging_gib = 100
  # "trunk_features": the .npz that keeps them, made where it is not there.
  config.features_file = config_dict.placeholder(str)
  # Of "grain" and "trunk_features", as the next two. The mean over people is
  # taken out of everybody's identity coefficients: the 3DMM says it is 0, and
  # what else it is comes of lenses and of where the detector marks landmarks.
  config.centre_identities = False
  # A dataset to mix in, as it is, each photo so many times: a label with depth,
  # of register_scans or of the synthetic world, among labels without.
  config.mixed_in = config_dict.placeholder(str)
  config.mixed_in_repeat = 30
  config.people = 1_000  # K of "synthetic" without a dataset
  config.photos_per_person = 8  # same
  config.world_seed = 0  # same
  config.num_examples = 8_000  # n of phases on "fake", for epochs
  config.num_classes = 1_000  # K of the same
  return config


def _augmentation() -> ConfigDict:
  """Nothing, as in the paper; where a phase's examples are "dataset"."""
  config = ConfigDict()
  # Another face's coefficients, the crop pulled along: the largest share of
  # their variance drawn anew. Of identity in phase I alone: who it is changes.
  config.new_identity = 0.0
  config.new_expression = 0.0
  config.flip = 0.0  # probability of the mirror image, targets mirrored too
  config.translation_px = 0  # largest shift along x and y
  config.brightness = 0.0  # largest change, as a share of 255
  config.contrast = 0.0  # largest change of the factor 1
  config.saturation = 0.0  # same
  config.occlusion = 0.0  # probability of a rectangle of noise
  config.occlusion_area = 0.15  # its largest share of the crop
  return config


def _identity_head() -> ConfigDict:
  config = ConfigDict()
  # "softmax" (3.3.1), "a_softmax", "cosface", "arcface" or "adaface": the one
  # key to change, each head's numbers stand below.
  config.kind = "softmax"
  config.scale = 30.0  # of the cosines; our choice, as |c_id| <= 14.1
  config.margins = ConfigDict(dict(MARGINS))  # each paper's
  config.lambda_first = 1000.0  # a_softmax; SphereFace's, as the next two
  config.lambda_last = 5.0  # a_softmax
  config.lambda_decay = 0.12  # a_softmax: of first / (1 + decay step)
  config.concentration = 0.333  # adaface: h
  config.momentum = 0.01  # adaface: of the running norms
  config.sharded = False  # each device holds a part of the classes
  config.sampled_share = 1.0  # of a sharded head's classes a step (PartialFC)
  return config


def _phase(config: ConfigDict) -> ConfigDict:
  config.steps = 1_000  # updates
  config.batch_size = 256  # over all devices
  config.accumulate = 1  # parts a device takes its share of a batch in
  config.average_decay = 0.0  # of the params' running average; 0: none
  config.gradient_dtype = "float32"  # or bfloat16, averaged over the devices so
  config.examples = "dataset"  # "dataset", "prior" or "fake"
  config.optimizers = ConfigDict()  # of the modules that train
  config.weights = ConfigDict(dict.fromkeys(LOSSES, 0.0))  # 0: left out
  return config
