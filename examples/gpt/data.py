"""Text as bytes: which files, which of them are held out, and the batches of a step."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

HELD_OUT = 0.05
SMALLEST = 20  # windows of text, fewer than which are not worth training on
SKIPPED = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}


class DataError(Exception):
    """The text can't be used; the message says why and what would do."""


@dataclass(frozen=True)
class Corpus:
    """Bytes to train on and bytes held out, with a digest of both."""

    train: np.ndarray
    held_out: np.ndarray
    files: int
    digest: str


def load_corpus(path: Path | None, context: int) -> Corpus:
    """Read a file or every text file of a folder; without a path, Python's standard library.

    The split is by whole files, in the order of their names' hashes: the same on every machine
    that has the same files. Of a single file the last part is held out.
    """
    texts = _standard_library() if path is None else _read(path)
    where = "the standard library" if path is None else str(path)
    total = sum(map(len, texts.values()))
    needed = SMALLEST * (context + 1)
    if total == 0:
        raise DataError(f"{where} holds no text. Give a text file or a folder of them.")
    if total < needed:
        raise DataError(
            f"{where} holds {total:,} bytes of text, too few for a context of {context}: "
            f"at least {needed:,} are needed."
        )
    train, held_out = _split_file(texts) if len(texts) == 1 else _split_files(texts)
    if min(len(train), len(held_out)) <= context:
        raise DataError(f"{where} can't be split: one part would hold no window of {context}.")
    digest = hashlib.sha256(train + b"\0" + held_out).hexdigest()
    parts = (np.frombuffer(part, np.uint8) for part in (train, held_out))
    return Corpus(*parts, files=len(texts), digest=digest)


def _standard_library() -> dict[str, bytes]:
    root = Path(os.__file__).parent
    files = (f for f in root.rglob("*.py") if not SKIPPED & set(f.relative_to(root).parts))
    return {f.relative_to(root).as_posix(): _read_file(f) for f in sorted(files)}


def _read(path: Path) -> dict[str, bytes]:
    if path.is_file():
        return {path.name: _read_file(path)}
    if not path.is_dir():
        raise DataError(f"{path} is neither a file nor a folder.")
    texts = {f.relative_to(path).as_posix(): _read_file(f) for f in _visible_files(path)}
    return {name: text for name, text in texts.items() if text and b"\0" not in text[:8192]}


def _visible_files(folder: Path) -> Iterator[Path]:
    for f in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in f.relative_to(folder).parts)
        if not hidden and f.is_file():
            yield f


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}.") from error


def _split_file(texts: dict[str, bytes]) -> tuple[bytes, bytes]:
    (text,) = texts.values()
    cut = round(len(text) * (1 - HELD_OUT))
    return text[:cut], text[cut:]


def _split_files(texts: dict[str, bytes]) -> tuple[bytes, bytes]:
    wanted = HELD_OUT * sum(map(len, texts.values()))
    order = sorted(texts, key=lambda name: hashlib.sha256(name.encode()).digest())
    held_out: list[str] = []
    while len(held_out) < len(order) - 1 and sum(len(texts[n]) for n in held_out) < wanted:
        held_out.append(order[len(held_out)])
    kept = sorted(set(texts) - set(held_out))
    return b"\n".join(texts[n] for n in kept), b"\n".join(texts[n] for n in held_out)


def training_batch(text: np.ndarray, settings, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets of a step, [batch, context] each; a function of seed and step alone."""
    random = np.random.default_rng((settings.seed, step))
    starts = random.integers(0, len(text) - settings.context, settings.batch)
    return _windows(text, starts, settings.context)


def held_out_batches(
    text: np.ndarray, batch: int, context: int, count: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Evenly spaced windows, `count` batches of them: the same at every validation."""
    starts = np.linspace(0, len(text) - context - 1, count * batch).astype(np.int64)
    for chunk in starts.reshape(count, batch):
        yield _windows(text, chunk, context)


def _windows(text: np.ndarray, starts: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    windows = text[starts[:, None] + np.arange(length + 1)]
    return windows[:, :-1], windows[:, 1:]
