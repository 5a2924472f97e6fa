"""Examples on the devices: the same curve as from disk."""

import dataclasses
import functools
import pathlib

from absl.testing import absltest, parameterized
import chex
import jax
import numpy as np
import pytest

from disentangle3d.faces.morphable_model import synthesize_shape, truncate_modes
from disentangle3d.faces.procedural import procedural_face_model
from disentangle3d.faces.synthetic import (
  render_photos,
  synthetic_world,
  true_coefficients,
)
from disentangle3d.training.batches import TrainBatch
from disentangle3d.training.input_pipeline import (
  MemoryReader,
  class_targets,
  index_batches,
)
from disentangle3d.training.loop import LoopOptions
from disentangle3d.training.placement import AXIS, place_rows
from disentangle3d.training.rendered import (
  FittedPhotos,
  rendered_again,
  rendered_examples,
)
from disentangle3d.training.resident import (
  check_room,
  resident_examples,
  resident_from_arrays,
)
from disentangle3d.training.run import run_phases
from tests.training.cases import (
  MODEL,
  MORPHABLE_MODEL,
  tiny_input,
  tiny_phases,
  write_tiny_dataset,
)


def _curve(workdir, phase, phase_input, devices):
  curve = []
  run_phases(
    [phase],
    model=MODEL,
    morphable_model=MORPHABLE_MODEL,
    phase_input=phase_input,
    devices=devices,
    workdir=workdir,
    seed=0,
    init_from=None,
    options=LoopOptions(log_every=1, checkpoint_every=100),
    export_phases=(),
    report=lambda phase, step, values: curve.append(values["loss"]),
    should_stop=lambda: False,
  )
  return curve


def _taken(held, index, devices):
  """The examples that a step gets at `index`, on the host, in order."""
  axes = TrainBatch(0, 0, 0, 0, 0, index=0, held=held.mapped_axis)

  @functools.partial(
    jax.pmap, axis_name=AXIS, in_axes=(axes,), devices=list(devices)
  )
  def take(batch):
    return batch.held.examples(batch).replace(held=None, index=None)

  rows = TrainBatch(position=np.arange(len(index), dtype=np.int32), index=index)
  got = take(place_rows(rows, devices).replace(held=held))
  return jax.tree.map(
    lambda leaf: np.asarray(leaf).reshape(len(index), *leaf.shape[2:]), got
  )


class ResidentTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.root = pathlib.Path(self.create_tempdir().full_path)
    self.disk = tiny_input(write_tiny_dataset(self.root / "dataset"))

  @parameterized.parameters(1, 8)
  def test_the_curve_is_that_of_the_dataset_on_disk(self, num_devices):
    devices = jax.devices()[:num_devices]
    # 20 examples, batches of 8: the steps cross two bounds of epochs.
    phase = tiny_phases(6)[2]
    held = resident_examples(self.disk.reader, devices=devices, rows_a_turn=2)
    resident = dataclasses.replace(self.disk, reader=None, held=held)
    wanted = _curve(self.root / "disk", phase, self.disk, devices)
    got = _curve(self.root / "held", phase, resident, devices)
    self.assertLen(got, 6)
    np.testing.assert_allclose(got, wanted, rtol=1e-6)

  @parameterized.parameters(1, 2, 8)
  def test_a_step_takes_the_rows_that_the_reader_has(self, num_devices):
    devices = jax.devices()[:num_devices]
    held = resident_examples(self.disk.reader, devices=devices, rows_a_turn=2)
    index = np.int32([19, 0, 7, 7, 3, 18, 11, 12])
    wanted = self.disk.reader.read(index).replace(
      position=np.arange(8, dtype=np.int32)
    )
    got = _taken(held, index, devices)
    chex.assert_trees_all_equal(got, wanted)
    chex.assert_trees_all_equal(
      held.class_targets(), class_targets(self.disk.reader)
    )

  @parameterized.product(flat=(False, True), num_devices=(1, 2))
  def test_arrays_that_lie_on_a_device_are_held(self, flat, num_devices):
    devices = jax.devices()[:num_devices]
    whole = self.disk.reader.read(range(len(self.disk.reader)))
    image = jax.numpy.array(whole.image)
    there = image.addressable_data(0).unsafe_buffer_pointer()
    held = resident_from_arrays(
      image.reshape(len(image), -1) if flat else image,
      jax.numpy.array(whole.label),
      jax.numpy.array(whole.identity_coefficients),
      whole.expression_coefficients,
      devices=devices,
    )
    if num_devices == 1 and not flat:
      data = held.image.addressable_data(0)
      self.assertEqual(data.unsafe_buffer_pointer(), there)
    index = np.arange(20, dtype=np.int32)[::-1].copy()
    got = _taken(held, index, devices)
    np.testing.assert_array_equal(got.image, whole.image[index])
    np.testing.assert_array_equal(
      got.identity_coefficients, whole.identity_coefficients[index]
    )

  def test_what_cannot_be_held_is_refused(self):
    whole = self.disk.reader.read(range(20))
    arrays = [
      whole.image,
      whole.label,
      whole.identity_coefficients,
      whole.expression_coefficients,
    ]
    devices = jax.devices()[:1]
    with self.assertRaisesRegex(TypeError, "image: expected uint8, got float"):
      resident_from_arrays(
        np.float32(whole.image), *arrays[1:], devices=devices
      )
    with self.assertRaisesRegex(ValueError, r"label: expected shape \[n=20\]"):
      resident_from_arrays(
        arrays[0], whole.label[:3], *arrays[2:], devices=devices
      )
    with self.assertRaisesRegex(ValueError, "at least one example, got none"):
      none = MemoryReader(jax.tree.map(lambda leaf: leaf[:0], whole))
      resident_examples(none, devices=devices)
    with self.assertRaisesRegex(ValueError, "expected 15.8 GB free on gpu:0"):
      check_room(488_848 * 32_256, 10 * 10**9, "gpu:0")
    with self.assertRaisesRegex(ValueError, "none beside a reader, got both"):
      held = resident_examples(self.disk.reader, devices=devices)
      dataclasses.replace(self.disk, held=held)

  def test_the_host_sends_the_order_of_the_dataset(self):
    batch = list(
      index_batches(num_examples=20, seed=3, batch_size=8, start=2, stop=4)
    )[0]
    order = np.random.default_rng((3, 0)).permutation(20)
    after = np.random.default_rng((3, 1)).permutation(20)
    np.testing.assert_array_equal(
      batch.index, np.concatenate([order[16:], after[:4]])
    )


_render = jax.jit(render_photos)


class RenderedTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    model = procedural_face_model(
      num_vertices=600, identity_dim=14, expression_dim=7
    )
    cls.world = synthetic_world(model, photos_per_person=3, detail_mm=0.0)
    cls.fitter = truncate_modes(model, 12, 5)

  def test_true_coefficients_make_the_photos_shape(self):
    world = self.world.replace(
      residual_rows=self.world.residual_rows.at[7:].set(0.0)
    )
    indices = np.int32([5, 0, 11, 3])
    photos = _render(world, 4, indices)
    identity, expression = true_coefficients(world, 4, indices)
    np.testing.assert_allclose(
      synthesize_shape(world.model, identity[:, :14], expression[:, :7]),
      photos.shape,
      atol=1e-3,
    )

  def test_a_step_renders_its_photos(self):
    devices = jax.devices()[:2]
    held = rendered_examples(
      self.world,
      4,
      num_people=4,
      identity_dim=12,
      expression_dim=5,
      devices=devices,
    )
    self.assertLen(held, 12)
    index = np.int32([5, 0, 11, 3])
    got = _taken(held, index, devices)
    wanted = _render(self.world, 4, index)
    identity, expression = true_coefficients(self.world, 4, index)
    np.testing.assert_allclose(
      np.float32(got.image), np.float32(wanted.image), atol=1
    )
    np.testing.assert_array_equal(got.label, [1, 0, 3, 1])
    np.testing.assert_allclose(got.identity_coefficients, identity[:, :12])
    np.testing.assert_allclose(
      got.expression_coefficients, expression[:, :5], rtol=1e-5
    )
    labels, people = held.class_targets()
    np.testing.assert_array_equal(labels, np.arange(4))
    np.testing.assert_allclose(people[1], identity[0, :12], rtol=1e-6)

  @pytest.mark.slow
  def test_fitted_coefficients_take_the_place_of_the_true_ones(self):
    devices = jax.devices()[:1]
    rng = np.random.default_rng(0)
    fitted = FittedPhotos(
      photo=np.int32([7, 8, 2]),
      label=np.int32([0, 0, 1]),
      identity_coefficients=rng.normal(size=(3, 12)).astype(np.float32),
      expression_coefficients=rng.normal(size=(3, 5)).astype(np.float32),
    )
    held = rendered_again(self.world, 4, fitted, devices=devices)
    got = _taken(held, np.int32([2, 0, 0, 1]), devices)
    wanted = _render(self.world, 4, np.int32([2, 7, 7, 8]))
    np.testing.assert_allclose(
      np.float32(got.image), np.float32(wanted.image), atol=1
    )
    np.testing.assert_array_equal(got.label, [1, 0, 0, 0])
    np.testing.assert_array_equal(
      got.identity_coefficients, fitted.identity_coefficients[[2, 0, 0, 1]]
    )
    labels, _ = held.class_targets()
    np.testing.assert_array_equal(labels, fitted.label)


if __name__ == "__main__":
  absltest.main()
