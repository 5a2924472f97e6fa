"""A head with holes for eyes and mouth, and skins for it."""

import dataclasses

import numpy as np

from disentangle3d.faces.cavities import find_cavities
from disentangle3d.faces.skins import Skins, mode_lengths_mm


def with_holes(model):
  """The model with the triangles around eyes and mouth cut out."""
  mean = np.asarray(model.mean_shape)
  marks = np.asarray(model.landmark_vertices)
  triangles = np.asarray(model.triangles)
  centres = mean[triangles].mean(1)
  kept = np.ones(len(triangles), bool)
  for corners, radius in ((range(36, 42), 7), (range(42, 48), 7)):
    middle = mean[marks[list(corners)]].mean(0)
    kept &= np.linalg.norm((centres - middle)[:, :2], axis=1) > radius
  mouth = (centres - mean[marks[60:68]].mean(0))[:, :2] / [14, 5]
  kept &= np.linalg.norm(mouth, axis=1) > 1
  return dataclasses.replace(model, triangles=triangles[kept])


def plain_skins(model, *, people=5):
  """Every person of one colour, each of another; all smile alike."""
  count = model.num_vertices + find_cavities(model).num_vertices
  tones = np.linspace(60, 220, people)[::-1, None, None]
  albedo = np.broadcast_to(tones * [1, 0.8, 0.7], (people, count, 3))
  return Skins(
    albedo=np.round(albedo).astype(np.uint8),
    backdrops=np.full((2, 4, 4, 3), 90, np.uint8),
    smiles=np.ones((3, 6), np.float32),
    modes_mm=mode_lengths_mm(model)[:6],
    model=model.name,
    source="tests",
    licence="Apache-2.0",
  )
