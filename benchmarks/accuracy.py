"""The largest error of each float32 elementary function, over all 2^32 arguments.

    python -m benchmarks.accuracy                 every function; docs/accuracy.md
    python -m benchmarks.accuracy sin tanh        some
    python -m benchmarks.accuracy --stride 61     every 61st argument (odd: all low bits occur)
    python -m benchmarks.accuracy --seconds 120   as far as that goes; the next run continues

The truth is the same function in float64, whose own error (2 ulp there, against mpmath in
tests/elementary) is 1e-8 of what is measured.  What is known lies in `--state`, a file.
"""

import argparse
import json
import math
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx

FUNCTIONS: tuple[str, ...] = (
    "exp", "expm1", "log", "log2", "log10", "log1p", "sigmoid", "sin", "cos", "tan", "arcsin",
    "arccos", "arctan", "sinh", "cosh", "tanh", "arcsinh", "arccosh", "arctanh", "erf", "erfinv",
    "sqrt", "rsqrt",
)  # fmt: skip
PATTERNS = 2**32
BLOCK = 2**22
OUTPUT = Path(__file__).parents[1] / "docs/accuracy.md"
Entry = dict[str, Any]


def errors(function: Callable[[mx.array], mx.array], x: mx.array) -> mx.array:
    """In ulps of the true value; infinite where one is NaN or infinite and the other is not."""
    found, true = function(x), function(x.astype(mx.float64))
    rounded = true.astype(mx.float32)
    power = mx.view(mx.view(true, mx.uint64) & 0x7FF0000000000000, mx.float64)
    unit = mx.maximum(power * 2.0**-23, 2.0**-149)
    difference = mx.abs(found.astype(mx.float64) - true) / unit
    same = mx.logical_or(found == rounded, mx.logical_and(mx.isnan(found), mx.isnan(true)))
    broken = mx.logical_not(mx.logical_and(mx.isfinite(found), mx.isfinite(rounded)))
    return mx.where(broken, mx.where(same, 0.0, math.inf), difference)


def block(name: str, first: int, stride: int, count: int) -> tuple[float, int]:
    """The largest error of some arguments, and the bits of the first that has it."""
    bits = mx.arange(count, dtype=mx.uint32) * stride + first
    found = errors(getattr(mx, name), mx.view(bits, mx.float32))
    at = mx.argmax(found)
    mx.eval(found, at)
    place = int(at.item())
    return float(found[place].item()), first + place * stride


def advance(entry: Entry, name: str, stride: int, until: float) -> None:
    """Go on where the entry stands, until all is done or the time is up."""
    while entry["next"] < PATTERNS and time.monotonic() < until:
        first = entry["next"]
        count = min(BLOCK, -((first - PATTERNS) // stride))
        worst, bits = block(name, first, stride, count)
        if worst > entry["ulp"]:
            entry["ulp"], entry["bits"] = worst, bits
        entry["next"] = first + count * stride


def number(bits: int) -> float:
    """The float32 of a bit pattern."""
    return float(struct.unpack("f", struct.pack("I", bits))[0])


def table(state: dict[str, Entry]) -> str:
    """The page of the documentation."""
    lines = [
        "# Accuracy",
        "",
        "Written by `python -m benchmarks.accuracy`: the largest error of each elementary function",
        "in float32, in units in the last place of the true value, over the arguments named. NaN",
        "and infinity must be where they belong. In float64 tests compare with mpmath (2 ulp).",
        "",
        "| function | largest error, ulp | at | arguments |",
        "| --- | ---: | --- | --- |",
    ]
    for name in FUNCTIONS:
        entry = state.get(name)
        if entry is None or entry["next"] < PATTERNS:
            continue
        which = "all 2^32" if entry["stride"] == 1 else f"every {entry['stride']}th of 2^32"
        at = float.hex(number(entry["bits"])) if entry["ulp"] else "-"
        lines.append(f"| {name} | {entry['ulp']:.3f} | `{at}` | {which} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("functions", nargs="*", default=FUNCTIONS, metavar="FUNCTION")
    parser.add_argument("--stride", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=math.inf)
    parser.add_argument("--state", type=Path, default=Path("accuracy.json"))
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args()
    until = time.monotonic() + options.seconds
    state = json.loads(options.state.read_text()) if options.state.exists() else {}
    for name in options.functions:
        entry = state.get(name)
        if entry is None or entry["stride"] > options.stride:
            entry = {"stride": options.stride, "next": 0, "ulp": 0.0, "bits": 0}
            state[name] = entry
        advance(entry, name, entry["stride"], until)
        options.state.write_text(json.dumps(state, indent=1))
        if entry["next"] < PATTERNS:
            break
        print(f"{name:10} {entry['ulp']:.3f} ulp at {number(entry['bits'])!r}", flush=True)
    options.output.write_text(table(state))


if __name__ == "__main__":
    main()
