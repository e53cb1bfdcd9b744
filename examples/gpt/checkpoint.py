"""Checkpoints: one safetensors file with model, optimizer, random key and history."""

import os
from pathlib import Path

import numpy as np

import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten

from .settings import Settings

NAME = "checkpoint.safetensors"


class CheckpointError(Exception):
    """A checkpoint can't be used; the message says why."""


def save_checkpoint(folder: Path, run) -> Path:
    """Write the run's state; readers see the old file or the whole new one, never a part."""
    arrays = {f"model.{name}": value for name, value in tree_flatten(run.model.parameters())}
    arrays |= {f"optimizer.{name}": value for name, value in tree_flatten(run.optimizer.state)}
    arrays["random"] = mx.random.state[0]
    arrays["losses"] = mx.array(np.array(run.losses, np.float32).reshape(-1))
    arrays["validations"] = mx.array(np.array(run.validations, np.float32).reshape(-1, 2))
    metadata = {
        "settings": run.settings.to_json(),
        "step": str(run.step),
        "text": run.corpus.digest,
    }
    target = folder / NAME
    # The suffix must stay: save_safetensors appends it to names that lack it.
    partial = folder / f"partial-{os.getpid()}-{NAME}"
    try:
        mx.save_safetensors(str(partial), arrays, metadata)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def read_checkpoint(folder: Path) -> tuple[dict[str, mx.array], dict[str, str]]:
    """Arrays and metadata of the folder's checkpoint."""
    path = folder / NAME
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist: there is nothing to resume.")
    try:
        arrays, metadata = mx.load(str(path), return_metadata=True)
        mx.eval(arrays)
    except (RuntimeError, ValueError, OSError) as error:
        raise CheckpointError(f"{path} can't be read: {error}") from error
    missing = {"settings", "step", "text"} - set(metadata) or {"random"} - set(arrays)
    if missing:
        raise CheckpointError(f"{path} is not a checkpoint of this program: no {min(missing)}.")
    return arrays, metadata


def stored_settings(folder: Path) -> Settings:
    return Settings.from_json(read_checkpoint(folder)[1]["settings"])


def restore_checkpoint(folder: Path, run) -> None:
    """Put a run into the state in which `save_checkpoint` found it."""
    arrays, metadata = read_checkpoint(folder)
    if metadata["text"] != run.corpus.digest:
        raise CheckpointError(f"{folder / NAME} was trained on other text than is given now.")
    run.model.update(_subtree(arrays, "model."))
    run.optimizer.state = _subtree(arrays, "optimizer.")
    # A key is the two halves of its seed: seeding with both sets it on any release of MLX.
    high, low = np.array(arrays["random"]).tolist()
    mx.random.seed(high << 32 | low)
    run.step = int(metadata["step"])
    run.losses = np.array(arrays["losses"]).tolist()
    run.validations = [(int(at), loss) for at, loss in np.array(arrays["validations"]).tolist()]


def _subtree(arrays: dict[str, mx.array], prefix: str):
    return tree_unflatten(
        [(k[len(prefix) :], v) for k, v in arrays.items() if k.startswith(prefix)]
    )
