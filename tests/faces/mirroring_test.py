import dataclasses

from absl.testing import absltest
import jax.numpy as jnp
import numpy as np

from disentangle3d.faces.mirroring import mirror_points, mirroring_of
from disentangle3d.faces.morphable_model import synthesize_shape
from disentangle3d.faces.procedural import procedural_face_model
from disentangle3d.faces.rendering import render
from disentangle3d.faces.shading import ambient_light
from disentangle3d.geometry import Camera, rotation_from_euler
from disentangle3d.training.augmentation import flip
from disentangle3d.types import IMAGE_HEIGHT, IMAGE_WIDTH


def _model(**changes):
  """Seven modes of its own, one of one side of the face, and its mirror's."""
  model = procedural_face_model(
    num_vertices=1500, identity_dim=7, expression_dim=6
  )
  mean = np.asarray(model.mean_shape)
  one_side = mean / (1 + np.exp(-mean[:, :1] / 10)) / 10
  modes = np.stack([one_side, mirror_points(model, one_side)], -1)
  basis = np.concatenate([model.identity_basis, modes], -1)
  return dataclasses.replace(model, identity_basis=np.float32(basis), **changes)


class MirroringTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(0)
    self.identity = rng.normal(size=9).astype(np.float32)
    self.expression = rng.normal(size=6).astype(np.float32)

  def test_mirrored_coefficients_make_the_mirrored_shape(self):
    # A mean that is not symmetric, within the span.
    plain = _model()
    lopsided = plain.mean_shape + plain.identity_basis[..., 7]
    model = _model(mean_shape=lopsided)
    mirroring = mirroring_of(model)
    mirrored = mirroring(self.identity, self.expression)
    shape = synthesize_shape(model, self.identity, self.expression)
    wanted = mirror_points(model, shape)
    np.testing.assert_allclose(
      synthesize_shape(model, *mirrored), wanted, atol=1e-3
    )
    self.assertGreater(np.abs(wanted - shape).max(), 1)
    twice = mirroring(*mirrored)
    np.testing.assert_allclose(twice[0], self.identity, atol=1e-5)
    np.testing.assert_allclose(twice[1], self.expression, atol=1e-5)

  def test_the_flipped_photo_is_that_of_mirrored_coefficients(self):
    model = _model()
    mirrored = mirroring_of(model)(self.identity, self.expression)
    rotation = rotation_from_euler(0.4, 0.1, -0.2)
    across = jnp.diag(jnp.array([-1.0, 1.0, 1.0]))
    # Colours that no mirroring leaves alone, of the surface.
    height = np.asarray(model.mean_shape)[:, 1:2]
    side = np.asarray(model.mean_shape)[:, :1]
    colors = 0.5 + np.concatenate([height, side, -side], 1) / 400
    photo = _photo(
      synthesize_shape(model, self.identity, self.expression),
      model,
      rotation,
      x=44.0,
      colors=colors,
    )
    other = _photo(
      synthesize_shape(model, *mirrored),
      model,
      across @ rotation @ across,
      x=IMAGE_WIDTH - 1 - 44.0,
      colors=colors[np.asarray(model.mirror_vertices)],
    )
    flipped = np.float32(flip(photo))
    off = np.abs(flipped - np.float32(other)).max(-1)
    # Pixels whose centre an edge crosses may fall to either side.
    self.assertLess(np.mean(off > 2), 0.002)
    self.assertGreater(np.mean(np.abs(flipped - np.float32(photo)) > 2), 0.1)

  def test_models_that_cannot_be_mirrored_are_refused(self):
    with self.assertRaisesRegex(ValueError, "expected mirrored vertices"):
      mirroring_of(_model(mirror_vertices=None))
    model = _model()
    lopsided = dataclasses.replace(
      model, identity_basis=model.identity_basis[..., :8]
    )
    with self.assertRaisesRegex(
      ValueError, "model.identity_basis: .*of the model's span, got .*% outside"
    ):
      mirroring_of(lopsided)


def _photo(shape, model, rotation, *, x, colors):
  camera = Camera(
    scale=jnp.full((1,), 0.45),
    rotation=rotation[None],
    translation=jnp.array([[x, 60.0]]),
  )
  seen = render(
    shape[None],
    model.triangles,
    camera,
    height=IMAGE_HEIGHT,
    width=IMAGE_WIDTH,
    colors=jnp.asarray(colors, jnp.float32)[None],
    # The default light comes from one side.
    lighting=ambient_light(jnp.ones((1, 3))),
  )
  return (255 * jnp.clip(seen.image[0], 0, 1)).astype(jnp.uint8)


if __name__ == "__main__":
  absltest.main()
