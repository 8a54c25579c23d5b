"""docs/benchmarks/: the table as a page, and one picture a group."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from scripts.bench import scaling
from scripts.bench.results import HEADING, Figure, Result, markdown, number, rows

PAGE = """\
# Benchmarks

`make bench` measures all of this on your machine and writes this page; `make bench ONLY=reload`
measures one group anew. Each figure is the median, the smallest and the largest of its runs. Where
two things are compared, they took turns, and each ratio is of two runs that followed each other.

{machine}
"""
# Around the tables of docs/scaling.md.
BEGIN, END = "<!-- costs: begin -->", "<!-- costs: end -->"
# In pixels.
WIDTH, LABEL, VALUE, ROW, TOP = 880, 430, 120, 26, 34


def write(results: Sequence[Result], docs: Path) -> None:
    """Write benchmarks/README.md, its pictures, and the tables of scaling.md."""
    folder = docs / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    file = docs / "scaling.md"
    file.write_text(scaling_page(file.read_text(), results))
    for result in results:
        (folder / f"{result.group}.svg").write_text(picture(result))
    (folder / "README.md").write_text(page(results))


def page(results: Sequence[Result]) -> str:
    """Return the page: the machine, and of each group the table, the picture and how it was done.

    A group that was measured another time, or elsewhere, says so.
    """
    common = results[0].machine
    parts = [PAGE.format(machine=markdown(["machine", ""], [list(row) for row in common.items()]))]
    for result in results:
        differs = [f"{k}: {v}" for k, v in result.machine.items() if common.get(k) != v]
        parts += [
            f"## {result.group}\n",
            f"{result.about}{' (' + '; '.join(differs) + ')' if differs else ''}\n",
            markdown(HEADING, rows(result)),
            f"\n![{result.group}: each figure's range]({result.group}.svg)\n",
        ]
    return "\n".join(parts)


def scaling_page(text: str, results: Sequence[Result]) -> str:
    """Return docs/scaling.md with its tables made anew, if the costs were measured."""
    for result in results:
        if result.group == "costs":
            begin, rest = text.split(BEGIN)
            end = rest.split(END)[1]
            costs = {figure.what: figure.median for figure in result.figures}
            return f"{begin}{BEGIN}\n{scaling.tables(costs)}{END}{end}"
    return text


def picture(result: Result) -> str:
    """Return a group's picture: of each figure a bar to the median, its range, and its target.

    Figures of one unit share a scale; each ratio has its own. The colours follow the reader's,
    light or dark.
    """
    height = TOP + ROW * len(result.figures) + 30
    title = escape(f"{result.group}: median, range of all runs, and target")
    drawn = "".join(
        _row(figure, TOP + ROW * line, _largest(result, figure))
        for line, figure in enumerate(result.figures)
    )
    legend = TOP + ROW * len(result.figures) + 18
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" \
aria-label="{title}">
<style>
  text {{ font: 13px system-ui, sans-serif; fill: #1f2328 }}
  .ground {{ fill: #fff; stroke: #d1d9e0 }}
  .bar {{ fill: #54aeff }}
  .range {{ stroke: #1f2328; stroke-width: 1.5 }}
  .target {{ stroke: #cf222e; stroke-width: 2; stroke-dasharray: 4 2 }}
  .value {{ font-weight: 600 }}
  .small {{ font-size: 11px }}
  @media (prefers-color-scheme: dark) {{
    text {{ fill: #f0f6fc }}
    .ground {{ fill: #0d1117; stroke: #3d444d }}
    .bar {{ fill: #1f6feb }}
    .range {{ stroke: #f0f6fc }}
    .target {{ stroke: #ff7b72 }}
  }}
</style>
<rect class="ground" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="6"/>
<text class="value" x="14" y="22">{title}</text>
{drawn}<line class="target" x1="{LABEL}" x2="{LABEL + 22}" y1="{legend - 4}" y2="{legend - 4}"/>
<text class="small" x="{LABEL + 28}" y="{legend}">target</text>
</svg>
"""


def _largest(result: Result, drawn: Figure) -> float:
    alike = [figure for figure in result.figures if figure.unit == drawn.unit]
    figures = [drawn] if drawn.unit == "×" else alike
    limits = [figure.target.limit for figure in figures if figure.target]
    return max([*limits, *(value for figure in figures for value in figure.values)]) or 1


def _row(figure: Figure, top: int, largest: float) -> str:
    def at(value: float) -> str:
        return f"{LABEL + value / largest * (WIDTH - LABEL - VALUE - 14):.1f}"

    middle = top + ROW / 2
    low, high = at(min(figure.values)), at(max(figure.values))
    lines = [
        f'<text x="14" y="{middle + 4}">{escape(figure.what)}</text>',
        f'<rect class="bar" x="{LABEL}" y="{top + 6}" height="{ROW - 12}" '
        f'width="{float(at(figure.median)) - LABEL:.1f}"/>',
        f'<line class="range" x1="{low}" x2="{high}" y1="{middle}" y2="{middle}"/>',
        *(
            f'<line class="range" x1="{x}" x2="{x}" y1="{middle - 4}" y2="{middle + 4}"/>'
            for x in (low, high)
        ),
    ]
    if figure.target:
        x = at(figure.target.limit)
        lines.append(
            f'<line class="target" x1="{x}" x2="{x}" y1="{top + 2}" y2="{top + ROW - 2}"/>'
        )
    mark = {True: " ✓", False: " ✗", None: ""}[figure.met]
    value = escape(f"{number(figure.judged)} {figure.unit}".strip() + mark)
    lines.append(
        f'<text class="value" x="{WIDTH - 14}" y="{middle + 4}" text-anchor="end">{value}</text>'
    )
    return "\n".join(lines) + "\n"
