"""A model in plain text: a line, and a table of its layers."""

from fastbp import optimizers
from fastbp.engine.problem import Problem
from fastbp.engine.state import TrainingState


def line(problem: Problem, state: TrainingState) -> str:
    """The repr of a model: its arguments, unless they are the usual ones, and what it was trained with."""
    network = problem.network
    hidden = f", hidden={network.hidden}" if network.hidden else ""
    bias = "" if network.bias else ", bias=False"
    dropout = f", dropout={problem.dropout}" if any(problem.dropout) else ""
    scaled = f", standardize={problem.standardize!r}" if problem.standardize else ""
    return (
        f"Model({network.sizes}{hidden}, output={network.output!r}, loss={problem.loss!r}{bias}, "
        f"dtype={problem.dtype.name!r}{dropout}{scaled}): {network.n_parameters} parameters, "
        f"{state.epochs} epochs and {state.updates} steps trained with {state.optimizer}"
    )


def table(problem: Problem, state: TrainingState) -> str:
    """A row for each layer, then parameters, loss, optimizer and memory."""
    network = problem.network
    rows = [("layer", "inputs", "outputs", "activation", "parameters")]
    ends = network.offsets[1:]
    for l, (begin, end) in enumerate(zip(network.offsets, ends, strict=False)):
        n_in, n_out = network.sizes[l : l + 2]
        rows.append((str(l + 1), f"{n_in:,}", f"{n_out:,}", str(network.activations[l]), f"{end - begin:,}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    right = (True, True, True, False, True)
    lines = [
        "  ".join(f"{cell:{'>' if r else '<'}{width}}" for cell, width, r in zip(row, widths, right, strict=True))
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    size, vectors = problem.dtype.itemsize, 2 + optimizers.n_moments(state.optimizer)
    theta = network.n_parameters * size
    return "\n".join([
        *lines,
        "",
        f"parameters  {network.n_parameters:,} of {problem.dtype.name}: {memory(theta)}",
        f"training    {memory(vectors * theta)}: parameters, gradient, {vectors - 2} moments of {state.optimizer}",
        f"loss        {problem.loss}, {problem.reduction} over the examples",
        f"trained     {state.epochs:,} epochs",
    ])  # fmt: skip


def memory(size: float) -> str:
    """Bytes in a unit that suits them: 1,300 -> "1.3 kB"."""
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.4g} {unit}"
        size /= 1000
    return f"{size:,.4g} GB"
