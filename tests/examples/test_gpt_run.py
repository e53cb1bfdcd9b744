"""The GPT example from outside: resuming, interrupting, errors, and what a run leaves behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import mlx.core as mx
from examples.gpt.__main__ import main

ROOT = Path(__file__).parents[2]
TINY = [
    *("--width=16", "--heads=2", "--layers=1", "--context=16", "--batch=2", "--rows=32"),
    *("--tables=1", "--dropout=0.1", "--warmup=5", "--sample-bytes=8"),
]


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    for index in range(4):
        (folder / f"{index}.txt").write_text(f"the quick brown fox, {index}\n" * 40)
    return folder


def run(text: Path, out: Path, *options: str) -> int:
    return main(["--data", str(text), "--out", str(out), *TINY, *options])


def contents(out: Path) -> dict[str, np.ndarray]:
    arrays = mx.load(str(out / "checkpoint.safetensors"))
    return {name: np.array(value) for name, value in arrays.items()}


def test_forty_steps_equal_twenty_and_a_resumed_twenty(text, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run(text, whole, "--steps", "40") == 0
    assert run(text, parts, "--steps", "40", "--stop-after", "20") == 0
    assert contents(parts)["losses"].shape == (20,)
    assert run(text, parts, "--resume") == 0
    one, other = contents(whole), contents(parts)
    assert one.keys() == other.keys()
    # Validation at step 20 is the one thing that only the run in two parts has.
    for name in one.keys() - {"validations"}:
        assert one[name].tobytes() == other[name].tobytes(), name
    assert {"random", "losses", "optimizer.step", "model.bytes.weight"} <= one.keys()


def test_a_run_leaves_a_picture_and_a_sample(text, tmp_path, capsys):
    assert run(text, tmp_path, "--steps", "3", "--prompt", "the ") == 0
    printed = capsys.readouterr().out
    assert "validation loss" in printed and "GFLOP/s" in printed and "tokens/s" in printed
    assert "the " in printed.split("sample")[1]
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint.safetensors", "loss.png"]


def test_interrupting_leaves_a_checkpoint_that_resumes(text, tmp_path):
    command = [sys.executable, "-u", "-m", "examples.gpt", "--data", str(text), *TINY]
    command += ["--out", str(tmp_path), "--steps", "1000000", "--validate-every", "20"]
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        checkpoint = tmp_path / "checkpoint.safetensors"
        deadline = time.monotonic() + 120
        while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, errors
    assert "--resume" in printed and "Traceback" not in errors
    done = len(contents(tmp_path)["losses"])
    assert done >= 20
    assert run(text, tmp_path, "--resume", "--stop-after", str(done + 2)) == 0
    assert len(contents(tmp_path)["losses"]) == done + 2


def test_resuming_names_what_is_wrong(text, tmp_path, capsys):
    assert run(text, tmp_path / "none", "--resume") == 2
    assert "nothing to resume" in capsys.readouterr().err
    assert run(text, tmp_path, "--steps", "2") == 0
    assert main(["--out", str(tmp_path), "--resume", "--width", "32", "--data", str(text)]) == 2
    assert "width" in capsys.readouterr().err
    other = tmp_path / "other.txt"
    other.write_text("something else\n" * 200)
    assert main(["--out", str(tmp_path), "--resume", "--data", str(other)]) == 2
    assert "other text" in capsys.readouterr().err
    checkpoint = tmp_path / "checkpoint.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    assert run(text, tmp_path, "--resume") == 2
    assert "can't be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [(("--heads", "3"), "heads"), (("--steps", "0"), "steps"), (("--dropout", "1"), "dropout")],
)
def test_bad_settings_are_refused(text, tmp_path, capsys, options, message):
    assert run(text, tmp_path, *options) == 2
    assert message in capsys.readouterr().err
