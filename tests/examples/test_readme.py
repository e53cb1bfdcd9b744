"""What the README shows: its example runs, its commands exist."""

import importlib.util
import re
from pathlib import Path

import pytest

import mlx.core as mx

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def test_the_example_finds_the_weights():
    mx.random.seed(0)
    (code,) = blocks("python")
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    assert mx.allclose(names["w"], mx.array([1.0, -2.0, 0.5]), atol=1e-3).item()


def test_the_example_is_about_ten_lines():
    (code,) = blocks("python")
    assert len([line for line in code.splitlines() if line.strip()]) <= 12


MODULES = sorted(set(re.findall(r"((?:examples|benchmarks)(?:\.\w+)?)[\s`]", TEXT)))


@pytest.mark.parametrize("module", MODULES)
def test_every_module_it_names_exists(module):
    assert importlib.util.find_spec(module) is not None


@pytest.mark.parametrize("target", sorted(set(re.findall(r"make ([a-z]+)(?=[\s`])", TEXT))))
def test_every_target_it_names_exists(target):
    assert target in re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_every_extra_it_installs_exists():
    project = (ROOT / "pyproject.toml").read_text()
    extras = re.findall(r"pip install '\.\[(\w+)\]'", TEXT)
    assert extras
    assert all(f"\n{extra} = [" in project for extra in extras)


def test_links_lead_somewhere():
    for link in re.findall(r"\]\(([^)]+)\)", TEXT):
        assert link.startswith("https://") or (ROOT / link).exists(), link
