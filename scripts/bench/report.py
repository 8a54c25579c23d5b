"""Writes docs/benchmarks/: one page with a table and a chart for each group."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pygal
from pygal.style import Style

from scripts.bench import scaling
from scripts.bench.results import HEADING, Figure, Result, markdown, number, rows

PAGE = """\
# Benchmarks

`make bench` runs these measurements on your machine and writes this page. `make bench ONLY=reload`
runs one group. Each row shows the median, minimum and maximum of its runs. Compared servers take
turns, and each ratio is of two consecutive runs.

{machine}
"""
# Comments that enclose the generated tables in docs/scaling.md.
BEGIN, END = "<!-- costs: begin -->", "<!-- costs: end -->"
LIGHT = Style(
    background="#fff",
    plot_background="transparent",
    foreground="#1f2328",
    foreground_strong="#1f2328",
    foreground_subtle="#1f2328",
    colors=("#cf222e", "#54aeff"),
    opacity="1",
    font_family="system-ui, sans-serif",
    label_font_size=13,
    title_font_size=15,
    legend_font_size=12,
)
# pygal draws one theme; a reader in dark mode gets these colours instead.
DARK = """inline:
@media (prefers-color-scheme: dark) {
  .graph > .background { fill: #0d1117 }
  text, text.title { fill: #f0f6fc !important }
  .ci { stroke: #f0f6fc !important }
}"""


def write(results: Sequence[Result], docs: Path) -> None:
    """Write benchmarks/README.md, its charts, and the tables of scaling.md."""
    folder = docs / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    file = docs / "scaling.md"
    file.write_text(scaling_page(file.read_text(), results))
    for result in results:
        (folder / f"{result.group}.svg").write_text(picture(result))
    (folder / "README.md").write_text(page(results))


def page(results: Sequence[Result]) -> str:
    """Return the page: the machine, then each group's description, table and chart.

    A group that was measured on another day or machine names the difference.
    """
    common = results[0].machine
    parts = [PAGE.format(machine=markdown(["machine", ""], [list(row) for row in common.items()]))]
    for result in results:
        differs = [f"{k}: {v}" for k, v in result.machine.items() if common.get(k) != v]
        parts += [
            f"## {result.group}\n",
            f"{result.about}{' (' + '; '.join(differs) + ')' if differs else ''}\n",
            markdown(HEADING, rows(result)),
            f"![{result.group}: median and range of each figure]({result.group}.svg)\n",
        ]
    return "\n".join(parts)


def scaling_page(text: str, results: Sequence[Result]) -> str:
    """Return docs/scaling.md with its tables regenerated, if the costs were measured."""
    for result in results:
        if result.group == "costs":
            begin, rest = text.split(BEGIN)
            end = rest.split(END)[1]
            costs = {figure.what: figure.median for figure in result.figures}
            return f"{begin}{BEGIN}\n{scaling.tables(costs)}{END}{end}"
    return text


def picture(result: Result) -> str:
    """Return a group's SVG chart: each figure's median, the range of its runs, and its target.

    Figures of one unit share a scale; each ratio has its own. The colours suit light and dark
    pages.
    """
    chart = pygal.HorizontalBar(
        title=f"{result.group}: median, range of all runs, and target",
        style=LIGHT,
        css=["file://style.css", "file://graph.css", DARK],
        js=[],
        no_prefix=True,
        disable_xml_declaration=True,
        print_values=False,
        show_x_labels=False,
        show_x_guides=False,
        truncate_label=-1,
        range=(0, 1),
        width=880,
        height=100 + 34 * len(result.figures),
        legend_at_bottom=True,
        margin=12,
    )
    # pygal draws the first value at the bottom.
    figures = result.figures[::-1]
    scales = [_largest(result, figure) for figure in figures]
    chart.x_labels = [_label(figure) for figure in figures]
    chart.add(
        "target",
        [
            figure.target and figure.target.limit / scale
            for figure, scale in zip(figures, scales, strict=True)
        ],
    )
    chart.add(
        "median",
        [
            {
                "value": figure.median / scale,
                "ci": {"low": min(figure.values) / scale, "high": max(figure.values) / scale},
            }
            for figure, scale in zip(figures, scales, strict=True)
        ],
    )
    return str(chart.render())


def _label(figure: Figure) -> str:
    mark = {True: "✓", False: "✗", None: ""}[figure.met]
    return f"{figure.what} — {number(figure.judged)} {figure.unit} {mark}".rstrip()


def _largest(result: Result, drawn: Figure) -> float:
    alike = [figure for figure in result.figures if figure.unit == drawn.unit]
    figures = [drawn] if drawn.unit == "×" else alike
    limits = [figure.target.limit for figure in figures if figure.target]
    return max([*limits, *(value for figure in figures for value in figure.values)]) or 1
