"""What the evaluation binaries read: networks by name, a dataset's world."""

from collections.abc import Mapping, Sequence
import os

from data_prep.stages.flag_values import parse_all_named
from disentangle3d.crop_templates import SPHEREFACE
from disentangle3d.training.dataset import read_manifest, template_of_manifest
from disentangle3d.training.export import Network, load_network
from disentangle3d.types import UserError


def read_networks(
  named: Sequence[str], *, flag: str = "network", datasets: Sequence[str] = ()
) -> dict[str, Network]:
  """The networks of `--network=NAME=PATH` or `PATH` flags, in their order.

  Args:
    named: The flags' values.
    flag: The flags' name, for errors.
    datasets: Whose crops they are to see.

  Raises:
    UserError: A name or a path is empty, or a name comes twice; networks see
      crops of different templates, or others than a dataset has.
    UserFileNotFoundError: There is no export, or no dataset.
  """
  networks = {
    name: load_network(path)
    for name, path in parse_all_named(flag, named).items()
  }
  template_of(networks)
  for dataset in datasets:
    check_crops(networks, dataset)
  return networks


def check_crops(
  networks: Mapping[str, Network], dataset: str | os.PathLike[str]
) -> None:
  """Checks that a dataset has the crops that networks see.

  Raises:
    UserFileNotFoundError: There is no dataset.
    UserError: It has others, or they see different ones.
  """
  if not networks:
    return
  template = template_of(networks)
  has = template_of_manifest(read_manifest(dataset))
  if has != template:
    raise UserError(
      f"{dataset}: expected crops of the template {template!r}, which the"
      f" networks see, got {has!r}"
    )


def template_of(networks: Mapping[str, Network]) -> str:
  """What the crops are aligned by that all of some networks see.

  Raises:
    UserError: They see different ones.
  """
  found = {name: one.model.template for name, one in networks.items()}
  first = next(iter(found.values()), SPHEREFACE)
  for name, template in found.items():
    if template != first:
      raise UserError(
        f"{name}: expected a network that sees crops of the template"
        f" {first!r}, as the others, got {template!r}"
      )
  return first


def check_vertices(
  networks: Mapping[str, Network], num_vertices: int, whose: str
) -> None:
  """Raises UserError unless all networks have as many vertices."""
  for name, network in networks.items():
    has = network.model.num_vertices
    if has != num_vertices:
      raise UserError(
        f"--network={name}: expected {num_vertices} vertices as the {whose}"
        f" has, got {has}"
      )
