"""docs/performance.md and the README's table, from what is stored."""

import re
from pathlib import Path

from .catalog import ROWS, Row
from .environments import PEERS
from .store import Store
from .table import best, figure, lines, markdown, number, ratio, remarks

NOTES = "<!-- Below this line the text is written by hand, and the command keeps it. -->"
BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"
LEGEND = """\
`ours / best`: our faster variant's time over the fastest peer's, which is named; below 1 we are
faster, and a figure in **bold** is a row where we are behind. `MB`: growth of the process's peak
memory over the imported, warmed process, ours and that peer's. `of limit`: the row's least traffic
at the machine's bandwidth and its arithmetic at the machine's peak, over our time. ≠ marks numbers
that differ from the other peers'; an empty field is a row that the peer doesn't have (MLX with
OpenBLAS: a row without f32 products). MKL is a yardstick for f32 products and not among the peers.
Each peer runs in a process of its own; they take turns."""


def present(store: Store) -> list[Row]:
    return [row for row in ROWS if row.name in store.results]


def behind(store: Store) -> list[str]:
    """The rows in which a peer is faster, the worst first."""
    found = []
    for row in present(store):
        share, other = ratio(store.results[row.name]), best(store.results[row.name], False)
        if share and share > 1 and other:
            found.append((share, f"- {row.name}: {share:.2f} times {other[0]}'s time"))
    text = [line for _, line in sorted(found, reverse=True)]
    return text or ["- none"]


def steps(store: Store) -> str:
    """Loops that evaluate each step against the same step compiled."""
    table = [["row", "plain, ms", "compiled, ms", "plain / compiled"]]
    for row in present(store):
        found = store.results[row.name]
        plain, compiled = found.get("mlx-jit"), found.get("mlx-jit compiled")
        if not row.name.startswith(("cnn", "mlp", "gpt_step", "adamw")) or not (plain and compiled):
            continue
        if not (plain.missing or compiled.missing):
            pair = [number(1e3 * r.seconds) for r in (plain, compiled)]
            table.append([row.name, *pair, f"{plain.seconds / compiled.seconds:.2f}"])
    if len(table) == 1:
        return ""
    text = "Training steps un-compiled and under `mx.compile`; target 1.25 for steps over 20 ms."
    return f"## Un-compiled loops\n\n{text}\n\n{markdown(table, 1)}"


def yardstick(store: Store) -> str:
    """Our share of MKL's speed in f32 products."""
    shares = []
    for row in present(store):
        ours, mkl = best(store.results[row.name], True), store.results[row.name].get("mkl")
        if ours and mkl and not mkl.missing:
            shares.append(f"{row.name} {100 * mkl.seconds / ours[1].seconds:.0f} %")
    return f"Our speed over MKL's (target 95 %): {', '.join(shares)}." if shares else ""


def generated(store: Store, picture: str) -> str:
    rows = present(store)
    limits = store.limits
    head = f"""# Performance

Written by `python -m benchmarks`, from `performance.json`; the notes at the end by hand. Measured
on {store.machine}, {store.threads} threads, interleaved rounds, medians of the rounds' medians.

The machine's limits, measured in the same run by kernels of ours: {limits}."""
    image = f"![time of the peers over ours]({picture})" if picture else ""
    settings = sorted(set(store.measured.values()))
    uncompared = ", ".join(row.name for row in rows if row.tolerance == 0)
    parts = [
        head,
        image,
        "## Rows",
        markdown(lines(rows, store.results, limits, bold="**")) if limits and rows else "",
        LEGEND,
        f"Results not compared with each other: {uncompared}." if uncompared else "",
        yardstick(store),
        "Behind a peer:\n\n" + "\n".join(behind(store)),
        "\n".join(remarks(rows, store.results)),
        steps(store),
        *(
            f"## {extra.title}\n\n{extra.text}\n\n{markdown([extra.header, *extra.lines], 1)}"
            for extra in store.extras.values()
        ),
        "## What each row is\n\n" + "\n".join(f"- {row.name}: {row.what}." for row in rows),
        "Measured: " + "; ".join(settings) + "." if settings else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def write_report(store: Store, path: Path, picture: Path | None) -> None:
    """The report, with the hand-written end of the one that was there."""
    old = path.read_text() if path.exists() else ""
    notes = old.split(NOTES, 1)[1] if NOTES in old else "\n\n## Notes\n"
    name = ""
    if picture:
        name = picture.name if picture.parent == path.parent else str(picture)
    path.write_text(f"{generated(store, name)}\n{NOTES}{notes}")


def headlines(store: Store) -> str:
    """A few rows: ours, and the fastest peer."""
    table = [["", "unit", "mlx-jit", "the fastest peer", "ours / theirs"]]
    for row in present(store):
        found = store.results[row.name]
        ours, other, share = best(found, True), best(found, False), ratio(found)
        if row.headline and ours and other and share:
            theirs = f"{figure(row, other[1])} ({other[0]})"
            mark = "**" if share > 1 else ""
            table.append(
                [row.what, row.unit, figure(row, ours[1]), theirs, f"{mark}{share:.2f}{mark}"]
            )
    rows = [r for r in present(store) if ratio(store.results[r.name])]
    ahead = sum(1 for row in rows if (ratio(store.results[row.name]) or 2) <= 1)
    peers = len({p.name.split(" ")[0] for p in PEERS if not (p.ours or p.yardstick)})
    text = (
        f"On {store.machine} with {store.threads} threads, mlx-jit is the fastest in {ahead} of\n"
        f"{len(rows)} rows against {peers} peers. Some of them:"
    )
    return f"{text}\n\n{markdown(table)}"


def write_headlines(store: Store, path: Path) -> None:
    """Replace what stands between the two marks; raises ValueError where they are missing."""
    old = path.read_text()
    pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    if not pattern.search(old):
        raise ValueError(f"{path} has no {BEGIN} ... {END}")
    path.write_text(pattern.sub(lambda _: f"{BEGIN}\n{headlines(store)}\n{END}", old, count=1))
