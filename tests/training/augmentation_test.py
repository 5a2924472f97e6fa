import dataclasses
import pathlib

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from disentangle3d.faces.procedural import procedural_face_model
from disentangle3d.geometry import Camera
from disentangle3d.training.augmentation import (
  Augmentation,
  adjust_colours,
  augment_batch,
  flip,
  occlude,
  random_rectangle,
  translate,
)
from disentangle3d.training.batches import TrainBatch, target_basis
from disentangle3d.training.loop import LoopOptions
from disentangle3d.training.run import run_phases
from disentangle3d.training.steps import batch_completion
from tests.training.cases import (
  MODEL,
  MORPHABLE_MODEL,
  tiny_input,
  tiny_phases,
  write_tiny_dataset,
)

_ALL = Augmentation(
  new_identity=0.5,
  new_expression=0.5,
  flip=0.5,
  translation_px=4,
  brightness=0.2,
  contrast=0.3,
  saturation=0.3,
  occlusion=0.5,
)


def _crop(seed=0):
  rng = np.random.default_rng(seed)
  return rng.integers(0, 256, (112, 96, 3), np.uint8)


def _batch(count=16):
  model = procedural_face_model(
    num_vertices=600, identity_dim=12, expression_dim=5
  )
  rng = np.random.default_rng(1)
  return TrainBatch(
    position=jnp.arange(count),
    image=jnp.asarray(np.stack([_crop(i) for i in range(count)])),
    label=jnp.arange(count),
    identity_coefficients=rng.normal(size=(count, 12)).astype(np.float32),
    expression_coefficients=rng.normal(size=(count, 5)).astype(np.float32),
    camera=Camera(
      scale=np.full(count, 0.6, np.float32),
      rotation=np.broadcast_to(np.eye(3, dtype=np.float32), (count, 3, 3)),
      translation=np.full((count, 2), 50, np.float32),
    ),
    basis=target_basis(model, mirrored=True, reshaped=True),
  )


class PureFunctionsTest(parameterized.TestCase):
  def test_a_flip_changes_sides_and_undoes_itself(self):
    image = _crop()
    np.testing.assert_array_equal(flip(image)[:, 0], image[:, 95])
    np.testing.assert_array_equal(flip(flip(image)), image)

  @parameterized.parameters((5, 3), (-5, 2), (0, -7), (0, 0))
  def test_a_shift_moves_pixels_and_repeats_the_border(self, right, down):
    image = _crop()
    moved = np.asarray(translate(jnp.asarray(image), right, down))
    padded = np.pad(image, ((8, 8), (8, 8), (0, 0)), mode="edge")
    wanted = padded[8 - down : 120 - down, 8 - right : 104 - right]
    np.testing.assert_array_equal(moved, wanted)

  def test_colours_follow_the_formula_and_stay_in_range(self):
    image = _crop()
    grey = np.float32(image) @ np.float32([0.299, 0.587, 0.114])
    wanted = grey[..., None] + 0.5 * (image - grey[..., None])
    wanted = 127.5 + 1.3 * (wanted - 127.5) + 0.2 * 255
    got = adjust_colours(image, brightness=0.2, contrast=1.3, saturation=0.5)
    self.assertEqual(got.dtype, jnp.uint8)
    np.testing.assert_allclose(
      np.float32(got), np.clip(wanted, 0, 255), atol=0.51
    )
    np.testing.assert_array_equal(adjust_colours(image), image)
    for brightness in (-1.0, 1.0):
      flat = np.unique(adjust_colours(image, brightness=brightness))
      np.testing.assert_array_equal(flat, [255 * (brightness > 0)])

  def test_rectangles_have_the_area_that_was_asked_for_inside_the_crop(self):
    keys = jax.random.split(jax.random.key(0), 400)
    hidden = jax.vmap(
      lambda key: random_rectangle(key, smallest_area=0.02, largest_area=0.2)
    )(keys)
    shares = np.mean(np.asarray(hidden), (1, 2))
    # Rounding to whole pixels moves a side by half of one.
    self.assertGreater(shares.min(), 0.02 * 0.9)
    self.assertLess(shares.max(), 0.2 * 1.05)
    self.assertBetween(shares.mean(), 0.10, 0.12)
    rows, columns = hidden.any(2), hidden.any(1)
    np.testing.assert_array_equal(
      hidden.sum((1, 2)), rows.sum(1) * columns.sum(1)
    )
    ratio = rows.sum(1) / columns.sum(1)
    self.assertBetween(ratio.min(), 0.45, 0.6)
    self.assertBetween(ratio.max(), 1.7, 2.2)

  def test_occlusion_changes_what_is_hidden_only(self):
    image, noise = _crop(0), _crop(1)
    hidden = np.zeros((112, 96), bool)
    hidden[10:20, 30:60] = True
    got = np.asarray(occlude(image, hidden, noise))
    np.testing.assert_array_equal(got[hidden], noise[hidden])
    np.testing.assert_array_equal(got[~hidden], image[~hidden])


class BatchTest(parameterized.TestCase):
  def test_nothing_is_done_by_default(self):
    batch = _batch()
    self.assertIs(
      augment_batch(jax.random.key(0), Augmentation(), batch), batch
    )

  def test_flips_take_image_and_coefficients_together(self):
    batch = _batch(64)
    got = augment_batch(jax.random.key(3), Augmentation(flip=0.25), batch)
    flipped = np.any(got.image != batch.image, (1, 2, 3))
    self.assertBetween(flipped.sum(), 6, 26)
    identity, expression = batch.basis.mirroring(
      batch.identity_coefficients, batch.expression_coefficients
    )
    for mirrored, plain, value in (
      (flip(batch.image), batch.image, got.image),
      (identity, batch.identity_coefficients, got.identity_coefficients),
      (expression, batch.expression_coefficients, got.expression_coefficients),
    ):
      np.testing.assert_array_equal(value[flipped], mirrored[flipped])
      np.testing.assert_array_equal(value[~flipped], plain[~flipped])
    np.testing.assert_array_equal(got.label, batch.label)

  @parameterized.parameters(
    *(
      {field.name: getattr(_ALL, field.name)}
      for field in dataclasses.fields(_ALL)
      if field.name != "occlusion_area"
    )
  )
  def test_each_does_something_and_draws_from_the_examples_key(self, **one):
    setting, key = Augmentation(**one), jax.random.key(0)
    batch = _batch()
    whole = augment_batch(key, setting, batch)
    self.assertTrue(np.any(whole.image != batch.image))
    # Half of the batch, on another device, say.
    rows = jax.tree.map(lambda leaf: leaf[8:], batch.replace(basis=None))
    part = augment_batch(key, setting, rows.replace(basis=batch.basis))
    np.testing.assert_array_equal(part.image, whole.image[8:])
    other = augment_batch(jax.random.key(1), setting, batch)
    self.assertTrue(np.any(other.image != whole.image))

  def test_a_step_augments_the_examples_of_a_dataset_only(self):
    phase = dataclasses.replace(tiny_phases()[0], augmentation=_ALL)
    key, batch = jax.random.key(0), _batch()
    got = batch_completion(MODEL, phase, 4)(key, batch)
    wanted = augment_batch(key, _ALL, batch)
    np.testing.assert_array_equal(got.image, wanted.image)
    fake = [
      batch_completion(MODEL, dataclasses.replace(p, examples="fake"), 4)
      for p in (phase, tiny_phases()[0])
    ]
    np.testing.assert_array_equal(*(f(key, batch).image for f in fake))

  @pytest.mark.slow
  def test_the_curve_is_the_same_on_any_number_of_devices(self):
    root = pathlib.Path(self.create_tempdir().full_path)
    phase_input = tiny_input(
      write_tiny_dataset(root / "dataset"), reshaped=True
    )
    plain = tiny_phases(2)[0]
    # The random 3DMM has no mirror image.
    setting = dataclasses.replace(_ALL, flip=0.0)
    phase = dataclasses.replace(plain, augmentation=setting)

    def curve(name, phase, num_devices):
      losses = []
      run_phases(
        [phase],
        model=MODEL,
        morphable_model=MORPHABLE_MODEL,
        phase_input=phase_input,
        devices=jax.devices()[:num_devices],
        workdir=root / name,
        seed=0,
        init_from=None,
        options=LoopOptions(log_every=1, checkpoint_every=100),
        export_phases=(),
        report=lambda phase, step, values: losses.append(values["loss"]),
        should_stop=lambda: False,
      )
      return losses

    one = curve("one", phase, 1)
    np.testing.assert_allclose(curve("four", phase, 4), one, rtol=1e-5)
    self.assertNotAlmostEqual(curve("plain", plain, 1)[0], one[0], places=4)

  def test_bad_settings_are_named(self):
    for name, value in (
      ("flip", 1.5),
      ("translation_px", 96),
      ("contrast", 1.0),
      ("occlusion_area", 0.0),
    ):
      with self.assertRaisesRegex(ValueError, f"augmentation.{name}: expected"):
        Augmentation(**{name: value})
    batch = _batch().replace(basis=target_basis(MORPHABLE_MODEL))
    with self.assertRaisesRegex(ValueError, "augmentation.flip: expected a"):
      augment_batch(jax.random.key(0), Augmentation(flip=0.5), batch)
    with self.assertRaisesRegex(ValueError, "examples with cameras"):
      augment_batch(jax.random.key(0), Augmentation(new_identity=0.5), batch)


if __name__ == "__main__":
  absltest.main()
