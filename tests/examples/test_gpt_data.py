"""The GPT example's text: what is read, how it is split, and what is refused."""

import numpy as np
import pytest

from examples.gpt.data import DataError, held_out_batches, load_corpus, training_batch
from examples.gpt.settings import Settings


def write(folder, files: dict[str, bytes]):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text)
    return folder


def test_a_folder_is_split_by_whole_files(tmp_path):
    files = {f"{c}.txt": c.encode() * 500 for c in "abcdefgh"}
    corpus = load_corpus(write(tmp_path, files), 16)
    train, held_out = set(corpus.train.tobytes()), set(corpus.held_out.tobytes())
    assert corpus.files == 8
    assert train & held_out <= set(b"\n")
    assert train | held_out == set(b"abcdefgh\n")
    assert load_corpus(tmp_path, 16).digest == corpus.digest


def test_of_one_file_the_end_is_held_out(tmp_path):
    path = write(tmp_path, {"t": bytes(range(1, 101)) * 100}) / "t"
    corpus = load_corpus(path, 16)
    assert (len(corpus.train), len(corpus.held_out)) == (9500, 500)


def test_binary_and_hidden_files_are_left_out(tmp_path):
    files = {"a": b"a" * 500, "b": b"b" * 500, "bin": b"\0" * 500, ".git/c": b"c" * 500}
    assert load_corpus(write(tmp_path, files), 16).files == 2


@pytest.mark.parametrize(
    ("files", "message"),
    [({}, "no text"), ({"a": b""}, "no text"), ({"a": b"abc" * 20}, "too few")],
)
def test_unusable_folders_are_refused(tmp_path, files, message):
    with pytest.raises(DataError, match=message):
        load_corpus(write(tmp_path, files), 16)


def test_a_path_to_nothing_is_refused(tmp_path):
    with pytest.raises(DataError, match="neither a file nor a folder"):
        load_corpus(tmp_path / "none", 16)


def test_an_unreadable_file_is_named(tmp_path, monkeypatch):
    path = write(tmp_path, {"secret": b"a" * 500}) / "secret"

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_bytes", refuse)
    with pytest.raises(DataError, match="secret can't be read: Permission denied"):
        load_corpus(path, 16)


def test_the_standard_library_is_there_and_its_tests_are_not():
    corpus = load_corpus(None, 128)
    assert corpus.files > 300
    assert 0.04 < len(corpus.held_out) / len(corpus.train) < 0.15


def test_batches_depend_on_seed_and_step_alone():
    text = np.arange(200, dtype=np.uint8)
    settings = Settings(context=16, batch=4)
    x, y = training_batch(text, settings, 3)
    assert x.shape == y.shape == (4, 16)
    assert np.array_equal(x[:, 1:], y[:, :-1])
    assert np.array_equal(x, training_batch(text, settings, 3)[0])
    assert not np.array_equal(x, training_batch(text, settings, 4)[0])
    assert not np.array_equal(x, training_batch(text, Settings(context=16, batch=4, seed=1), 3)[0])


def test_every_byte_can_be_drawn_and_held_out_windows_span_the_text():
    text = np.arange(18, dtype=np.uint8)
    settings = Settings(context=16, batch=64)
    x, y = training_batch(text, settings, 0)
    assert x.min() == 0 and y.max() == 17
    windows = np.concatenate([x for x, _ in held_out_batches(text, 2, 8, 3)])
    assert windows[0, 0] == 0 and windows[-1, -1] == 16
