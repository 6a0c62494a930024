"""A comparison's table as text, as JSON and as a picture."""

import json
import platform
from statistics import median
from typing import Any

from fastbp.bench.cases import Case
from fastbp.bench.measure import OWN, Measured, best
from fastbp.engine.thread_limit import threads_here

Rows = list[tuple[Case, list[Measured]]]


def number(value: float) -> str:
    """The value with three digits."""
    return f"{value:.{max(0, 2 - len(str(int(value))) + 1)}f}"


def cell(result: Measured | None, own: Measured | None) -> str:
    """Median (minimum), the ratio to fastbp, and the number of threads if it is not 1."""
    if result is None:
        return "-"
    text = f"{number(median(result.microseconds))} ({number(min(result.microseconds))})"
    if own is not None and result is not own:
        text += f" {result.ratio_to(own):.2f}x"
    return f"{text} [{result.threads}]" if (result.threads or 1) > 1 else text


def lead(chosen: dict[str, Measured]) -> float | None:
    """How many times faster than the best other library: the median ratio."""
    ratios = [result.ratio_to(chosen[OWN]) for name, result in chosen.items() if name != OWN and OWN in chosen]
    return min(ratios, default=None)


def columns(lines: list[list[str]]) -> str:
    """Lines with aligned columns: the first two to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            part.ljust(w) if i < 2 else part.rjust(w) for i, (part, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def heading(names: list[str], *more: str) -> list[str]:
    return ["", "network, rows of a step", *names, *more]


def speed(case: Case, own: Measured | None) -> str:
    """fastbp's GF/s."""
    return "-" if own is None else number(case.flops / median(own.microseconds) / 1e3)


def line_of_times(case: Case, results: list[Measured], names: list[str]) -> list[str]:
    chosen = best(results)
    own, ahead = chosen.get(OWN), lead(chosen)
    cells = [cell(chosen.get(name), own) for name in names]
    lead_and_goal = [f"{ahead:.2f}x" if ahead else "-", f"{case.goal:g}x" if case.goal else "-"]
    return [case.name, str(case), *cells, speed(case, own), *lead_and_goal]


def times(rows: Rows, names: list[str]) -> str:
    """Microseconds per step: median (minimum), ratio to fastbp, [threads] if not 1; fastbp's GF/s and lead."""
    lines = [heading(names, "GF/s", "lead", "goal"), *(line_of_times(*row, names) for row in rows)]
    if not any(case.goal for case, _ in rows):
        lines = [line[:-1] for line in lines]
    return columns(lines)


def costs(rows: Rows, names: list[str]) -> str:
    """The cost that each library reached, from the same parameters on the same mini-batches."""
    lines = [heading(names)]
    for case, results in rows:
        chosen = best(results)
        reached = [chosen[name].cost if name in chosen else None for name in names]
        lines.append([case.name, str(case), *("-" if cost is None else f"{cost:.6g}" for cost in reached)])
    return columns(lines)


def failures(rows: Rows) -> str:
    """Cases that a library could not run."""
    failed = [(case, result) for case, results in rows for result in results if result.unable]
    return "\n".join(
        sorted({f"{case.name} {case}: {result.name}: {result.unable}".lstrip() for case, result in failed})
    )


def as_json(rows: Rows, about: dict[str, Any]) -> str:
    return json.dumps(
        {
            "about": about,
            "rows": [
                {**vars(case), "flops": case.flops, "results": [vars(result) for result in results]}
                for case, results in rows
            ],
        },
        indent=1,
    )


def machine() -> str:
    """The CPU's name and the cores that this process may use."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            name = next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{name}, {threads_here()} cores"


def plot(rows: Rows, names: list[str], path: str, title: str) -> None:
    """Bars of the median microseconds per step, on a logarithmic axis."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 1 + 0.6 * len(rows)), layout="constrained")
    height = 0.8 / len(names)
    for i, name in enumerate(names):
        measured = [(k, best(results)[name]) for k, (_, results) in enumerate(rows) if name in best(results)]
        values = [median(result.microseconds) for _, result in measured]
        places = [k + (i - (len(names) - 1) / 2) * height for k, _ in measured]
        bars = axes.barh(places, values, height, label=name)
        axes.bar_label(bars, [number(value) for value in values], padding=2, fontsize=7)
    axes.set_yticks(range(len(rows)), [f"{case.name}  {case}" for case, _ in rows])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.margins(x=0.1)
    axes.set_xlabel("microseconds per step (less is better)")
    axes.set_title(title, fontsize=10)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=150)
