"""Record what MLX computes for the cases: run with MLX itself as `mlx`, from the root.

python -m tests.generators.record_nn
"""

from pathlib import Path

import mlx.core as mx
from tests.generators.deterministic import array, fill, flat, gradients, save
from tests.generators.layer_cases import layer_cases, loss_cases
from tests.generators.optimizer_cases import OPTIMIZERS, history

TESTS = Path(__file__).parents[1]


def layers():
    out = {}
    for case in layer_cases():
        module = fill(case.make())
        out |= flat(f"{case.name}/out", {"": module(*case.inputs)})
        out |= flat(f"{case.name}/grad", gradients(module, case.inputs))
        out |= flat(f"{case.name}/after", module.parameters() if "Batch" in case.name else {})
        out |= flat(f"{case.name}/eval", {"": module.eval()(*case.inputs)})
    return out


def losses():
    out = {}
    x = array(12, 3, 7)
    for name, loss in loss_cases().items():
        grad = mx.grad(lambda a: loss(a).sum())(x)  # noqa: B023
        out |= flat(name, {"value": loss(x), "grad": grad})
    return out


def optimizers():
    out = {}
    for name, make in OPTIMIZERS.items():
        for step, (params, state) in enumerate(history(make)):
            out |= flat(f"{name}/{step}", {"params": params, "state": state})
    return out


if __name__ == "__main__":
    save(TESTS / "nn" / "layers.npz", layers())
    save(TESTS / "nn" / "losses.npz", losses())
    save(TESTS / "optimizers" / "optimizers.npz", optimizers())
