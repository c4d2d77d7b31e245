"""Draws what tests/bench/run has measured.

    plot.py build/results/bench.json build/results/bench.svg

A panel a row: how long each server's bar is says how much of its CPU the floor would need, so that
1 is as little as a server can do. Rows of memory have bytes a connection, by powers of ten.
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot  # noqa: E402

OURS, OTHERS, FLOOR = "#b8420f", "#8a97a8", "#d5dae1"
TITLES = {
    "node_ws": "Node ws",
    "rocket": "rocket_ws",
    "gorilla": "gorilla",
    "python_websockets": "Python websockets",
    "nginx": "nginx + Lua",
    "plain": "the same, plain",
    "lua_floor": "floor with Lua",
}
COLUMNS = 3


def colour(name: str, against: str) -> str:
    return OURS if name == "perigee" else FLOOR if name in (against, "lua_floor") else OTHERS


def bars(row: dict) -> tuple[list[tuple[str, float]], str]:
    """Names with lengths, the best first, and what the lengths are."""
    measured = {n: s for n, s in row["servers"].items() if s.get("rounds")}
    if row["goal_bytes"]:
        lengths = [(name, figures["resident_bytes"]) for name, figures in measured.items()]
        return sorted(lengths, key=lambda pair: pair[1]), "bytes a connection"
    of = row["against"]
    lengths = [(name, figures.get(f"of_{of}", 1.0)) for name, figures in measured.items()]
    return sorted(lengths, key=lambda pair: -pair[1]), f"CPU of {of} / CPU of the server"


def panel(axes, row: dict) -> None:
    lengths, what = bars(row)
    names = [TITLES.get(name, name) for name, _ in lengths]
    values = [value for _, value in lengths]
    colours = [colour(name, row["against"]) for name, _ in lengths]
    drawn = axes.barh(names, values, color=colours, height=0.7)
    form = "{:,.0f}" if row["goal_bytes"] else "{:.2f}"
    axes.bar_label(drawn, [form.format(value) for value in values], padding=3, fontsize=7)
    axes.invert_yaxis()
    axes.set_title(row["title"], fontsize=9, loc="left")
    axes.set_xlabel(what, fontsize=7)
    axes.tick_params(labelsize=7, length=0)
    axes.margins(x=0.15)
    if row["goal_bytes"]:
        axes.set_xscale("log")
        axes.axvline(row["goal_bytes"], color=OURS, linewidth=0.8, linestyle=":")
    elif row["goal"]:
        axes.axvline(row["goal"], color=OURS, linewidth=0.8, linestyle=":")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def main() -> None:
    source, target = map(Path, sys.argv[1:3])
    figures = json.loads(source.read_text())
    rows = [row for row in figures["rows"].values() if bars(row)[0]]
    if not rows:
        sys.exit("nothing was measured")
    # The same figures make the same file.
    matplotlib.rcParams.update({"svg.hashsalt": "perigee", "svg.fonttype": "none"})
    lines = -(-len(rows) // COLUMNS)
    figure, grid = pyplot.subplots(
        lines, COLUMNS, figsize=(12, 2.9 * lines), layout="constrained", squeeze=False
    )
    for axes, row in zip(grid.flat, rows, strict=False):
        panel(axes, row)
    for axes in list(grid.flat)[len(rows) :]:
        axes.set_visible(False)
    machine = figures["machine"]
    figure.suptitle(
        f"{machine['cpu']}, {machine['kernel']}, {figures['begun'][:10]}, "
        f"{figures['rounds']} rounds of {figures['seconds']:g} s. Dotted: perigee's goal.",
        fontsize=8,
    )
    figure.savefig(target, metadata={"Date": None})


if __name__ == "__main__":
    main()
