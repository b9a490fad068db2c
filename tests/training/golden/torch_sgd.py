"""Ten steps of `torch.optim.SGD` over two parameter groups, as `torch_sgd.json` beside this file has them.

Made by PyTorch 2.13.0, where it is installed: `python tests/training/golden/torch_sgd.py`
"""

import json
from pathlib import Path

import numpy as np

STEPS, RATE, POWER, MOMENTUM, DECAY, HEAD, MAX_NORM = 10, 0.1, 0.9, 0.9, 5e-4, 10, 2.5


def inputs():
    """The two weights, of a backbone and of a head, and ten gradients of each."""
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=size).astype("float32") for size in (2, 3)]
    return weights, [[rng.normal(size=weight.size).astype("float32") for weight in weights] for _ in range(STEPS)]


def steps(max_norm):
    """The learning rate, the weights and the velocities of each step."""
    import torch

    start, gradients = inputs()
    backbone, head = weights = [torch.nn.Parameter(torch.from_numpy(weight)) for weight in start]
    optimizer = torch.optim.SGD(
        [{"params": [backbone]}, {"params": [head], "lr": HEAD * RATE}],
        lr=RATE,
        momentum=MOMENTUM,
        weight_decay=DECAY,
    )
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, STEPS, POWER)
    for of_step in gradients:
        rate = schedule.get_last_lr()[0]
        for weight, gradient in zip(weights, of_step, strict=True):
            weight.grad = torch.from_numpy(gradient)
        if max_norm:
            torch.nn.utils.clip_grad_norm_(weights, max_norm)
        optimizer.step()
        schedule.step()
        velocities = [optimizer.state[weight]["momentum_buffer"] for weight in weights]
        yield {
            "rate": rate,
            "weights": [weight.tolist() for weight in weights],
            "velocities": [velocity.tolist() for velocity in velocities],
        }


if __name__ == "__main__":
    cases = {"plain": list(steps(None)), "clipped": list(steps(MAX_NORM))}
    lines = [f'"{name}": [\n' + ",\n".join(map(json.dumps, case)) + "\n]" for name, case in cases.items()]
    Path(__file__).with_suffix(".json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
