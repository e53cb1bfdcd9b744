"""Apply gradients to parameters, to a part of them, and to a model.

python -m examples.documents.apply_gradients
"""

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim


def main():
    model = nn.Linear(3, 2)
    opt = optim.SGD(learning_rate=0.5)
    loss_and_grad = nn.value_and_grad(model, lambda x: model(x).square().mean())
    loss, grads = loss_and_grad(mx.ones((4, 3)))

    # The same as opt.update(model, grads)
    model.update(opt.apply_gradients(grads, model))
    print("loss", loss.item(), "then", loss_and_grad(mx.ones((4, 3)))[0].item())

    # The parameters may be a superset of the gradients.
    parameters = {"a": mx.array(1.0), "b": {"c": mx.array(2.0), "d": mx.array(3.0)}}
    updated = opt.apply_gradients({"b": {"c": mx.array(1.0)}}, parameters)
    print("updated", updated)
    return updated


if __name__ == "__main__":
    main()
