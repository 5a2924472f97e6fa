"""Programs once compiled are kept in a folder, so that no start compiles twice.

The folder is JAX's persistent compilation cache. A compiled program is code, so
it belongs to its user alone; and it fits one kind of processor and one release
of JAX, so each pair has a folder of its own in it. Processes may share it: who
reads what another is writing compiles it as well.
"""

import atexit
import hashlib
import importlib.metadata
import os
import pathlib
import platform
import stat
import warnings
import zlib

from absl import flags, logging

from disentangle3d.types import UserError

FLAG = "compilation_cache"
ENVIRONMENT = "DISENTANGLE3D_COMPILATION_CACHE"
OFF = "off"
MOST_BYTES = 1 << 30
# Names JAX gives to what it keeps.
_ENTRIES = "*-cache"
_ZLIB = b"\x78"


def define_compilation_cache() -> None:
  """Defines `--compilation_cache`, which every binary has."""
  if FLAG not in flags.FLAGS:
    flags.DEFINE_string(
      FLAG,
      None,
      "The folder in which compiled programs are kept for the next start; off"
      " keeps none.",
    )


def keep_programs(asked: str | None = None) -> pathlib.Path | None:
  """Makes JAX keep what it compiles, and take what it kept.

  Args:
    asked: The folder, or "off"; None takes what `ENVIRONMENT` says, else a
      folder in the user's cache folder. Where JAX was told of a folder by its
      own means, all stays as it is.

  Returns:
    Where programs are kept; None if they are not.

  Raises:
    UserError: Others may write to a folder that was asked for, or it cannot be
      made.
  """
  import jax

  told = asked or os.environ.get(ENVIRONMENT)
  by_jax = getattr(jax.config, "jax_compilation_cache_dir", None)
  if told == OFF or (by_jax and not asked):
    return None
  root = pathlib.Path(told).expanduser() if told else _user_folder()
  try:
    for folder in (root, root / _kind()):
      _make_private(folder)
  except (OSError, UserError) as error:
    if told:
      raise UserError(f"{error}; or --{FLAG}={OFF}") from error
    logging.warning("Compiled programs are not kept: %s", error)
    return None
  _drop_damaged(folder)
  _drop_oldest(root, MOST_BYTES)
  atexit.register(_drop_oldest, root, MOST_BYTES)
  # What another process has not written to its end is compiled again.
  warnings.filterwarnings("ignore", "Error reading persistent compilation")
  jax.config.update("jax_compilation_cache_dir", str(folder))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
  jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
  return folder


def _user_folder() -> pathlib.Path:
  caches = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
  return pathlib.Path(caches) / "disentangle3d" / "programs"


def _kind() -> str:
  """What decides whether a program can run here, as a folder's name."""
  import jax

  features = platform.processor()
  try:
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
      if line.startswith(("flags", "Features")):
        features = line
        break
  except OSError:
    pass
  compiler = importlib.metadata.version("jaxlib")
  told = "\n".join([compiler, platform.machine(), features])
  digest = hashlib.sha256(told.encode()).hexdigest()
  return f"jax-{jax.__version__}-{digest[:12]}"


def _make_private(folder: pathlib.Path) -> None:
  """Makes a folder for its user alone, and sees that it is."""
  folder.mkdir(mode=0o700, parents=True, exist_ok=True)
  found = folder.stat()
  mine = not hasattr(os, "getuid") or found.st_uid == os.getuid()
  if not mine or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
    raise UserError(
      f"{folder}: expected a folder that only you may write to, as compiled"
      f" programs are code, got mode {stat.S_IMODE(found.st_mode):o}"
    )


def _drop_damaged(folder: pathlib.Path) -> None:
  """Removes what a kill or a full disk cut off, or JAX would meet it always."""
  seen = folder / "checked"
  since = seen.stat().st_mtime if seen.exists() else 0.0
  for path in folder.glob(_ENTRIES):
    try:
      if path.stat().st_mtime < since:
        continue
      content = path.read_bytes()
      if not content or content.startswith(_ZLIB):
        zlib.decompress(content)
    except FileNotFoundError:
      continue
    except zlib.error:
      path.unlink(missing_ok=True)
  seen.touch()


def _drop_oldest(root: pathlib.Path, most_bytes: int) -> None:
  """Removes what was not used for longest, down to a size."""
  found = []
  for path in root.glob(f"*/{_ENTRIES}"):
    try:
      about = path.stat()
    except FileNotFoundError:
      continue
    found.append((max(about.st_atime, about.st_mtime), about.st_size, path))
  total = sum(size for _, size, _ in found)
  for _, size, path in sorted(found):
    if total <= most_bytes:
      break
    path.unlink(missing_ok=True)
    total -= size
