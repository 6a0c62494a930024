"""PyTorch: fused optimizers, functional layers, tensors in memory and cut into mini-batches beforehand."""

from typing import Any

from fastbp.bench.backends import Task
from fastbp.bench.cases import Array, Case, Layers, begins_of_steps

packages = ("torch",)
threads = 1


def set_threads(n: int | None) -> None:
    global threads
    threads = n or 1


def version() -> str:
    import torch

    return str(torch.__version__)


def network(case: Case, layers: Layers) -> tuple[list[Any], Any]:
    """The parameters, w and b in turn, and the function of the network up to the last z."""
    import torch
    from torch.nn.functional import linear

    torch.set_num_threads(threads)
    parameters = [torch.tensor(part, requires_grad=True) for layer in layers for part in layer]
    sigma = torch.relu if case.hidden == "relu" else torch.tanh

    def forward(x: Any) -> Any:
        for k in range(0, len(parameters) - 2, 2):
            x = sigma(linear(x, parameters[k], parameters[k + 1]))
        return linear(x, parameters[-2], parameters[-1])

    return parameters, forward


def probabilities(case: Case, forward: Any, x: Any) -> Any:
    import torch

    with torch.inference_mode():
        z = forward(x)
        return (torch.softmax(z, dim=1) if case.output == "softmax" else z).numpy()


def loss_of(case: Case) -> Any:
    import torch

    if case.loss == "cross_entropy":
        return torch.nn.functional.cross_entropy
    return lambda z, y: torch.nn.functional.mse_loss(z, y, reduction="sum") / len(y)


def optimizer_of(case: Case, parameters: list[Any]) -> Any:
    import torch

    if case.optimizer == "adam":
        return torch.optim.Adam(parameters, case.learning_rate, fused=True)
    return torch.optim.SGD(parameters, case.learning_rate, case.momentum, fused=True)


def fit(case: Case, X: Array, y: Array, layers: Layers) -> Task:
    import torch

    parameters, forward = network(case, layers)
    inputs, targets = torch.from_numpy(X), torch.from_numpy(y)
    batches = list(zip(inputs.split(case.batch), targets.split(case.batch), strict=True))
    loss, optimizer = loss_of(case), optimizer_of(case, parameters)

    def run() -> None:
        for _ in range(case.epochs):
            for x_n, y_n in batches:
                optimizer.zero_grad()
                loss(forward(x_n), y_n).backward()
                optimizer.step()

    return Task(run, lambda: probabilities(case, forward, inputs))


def step(case: Case, X: Array, y: Array, layers: Layers) -> Task:
    import torch

    parameters, forward = network(case, layers)
    loss, optimizer = loss_of(case), optimizer_of(case, parameters)

    def run() -> None:
        for n in begins_of_steps(case):
            x_n, y_n = (torch.from_numpy(part[n : n + case.batch]) for part in (X, y))
            optimizer.zero_grad()
            cost = loss(forward(x_n), y_n)
            cost.backward()
            optimizer.step()
            cost.item()

    return Task(run, lambda: probabilities(case, forward, torch.from_numpy(X)))


def gradient(case: Case, X: Array, y: Array, layers: Layers) -> Task:
    """A loop in Python: PyTorch has no other."""
    import torch

    parameters, forward = network(case, layers)
    inputs, targets, loss = torch.from_numpy(X), torch.from_numpy(y), loss_of(case)

    def run() -> None:
        for _ in range(case.steps):
            slopes = torch.autograd.grad(loss(forward(inputs), targets), parameters)
            with torch.no_grad():
                torch._foreach_add_(parameters, slopes, alpha=-case.learning_rate)

    return Task(run, lambda: probabilities(case, forward, inputs))


def predict(case: Case, X: Array, y: Array, layers: Layers) -> Task:
    import torch

    _, forward = network(case, layers)
    inputs = torch.from_numpy(X)

    def run() -> None:
        with torch.inference_mode():
            for _ in range(case.steps):
                z = forward(inputs)
                if case.output == "softmax":
                    z = torch.softmax(z, dim=1)

    return Task(run, lambda: probabilities(case, forward, inputs))


tasks = {"fit": fit, "step": step, "gradient": gradient, "bulk": predict, "row": predict}
