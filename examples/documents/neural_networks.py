"""A multi-layer perceptron: parameters, printing, gradients and training.

python -m examples.documents.neural_networks
"""

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_map


class MLP(nn.Module):
    def __init__(self, in_dims: int, out_dims: int):
        super().__init__()

        self.layers = [
            nn.Linear(in_dims, 128),
            nn.Linear(128, 128),
            nn.Linear(128, out_dims),
        ]

    def __call__(self, x):
        for i, layer in enumerate(self.layers):
            x = mx.maximum(x, 0) if i > 0 else x
            x = layer(x)
        return x


def main():
    # The model is created with all its parameters but nothing is initialized
    # yet because arrays are lazy.
    mlp = MLP(2, 10)

    # We can access its parameters by calling mlp.parameters()
    params = mlp.parameters()

    # Printing a parameter causes it to be evaluated and thus initialized.
    print(params["layers"][0])

    # We can also force the evaluation of all parameters.
    mx.eval(mlp.parameters())

    def l2_loss(x, y):
        y_hat = mlp(x)
        return (y_hat - y).square().mean()

    # The gradients are those for mlp.trainable_parameters().
    loss_and_grad = nn.value_and_grad(mlp, l2_loss)
    loss, grads = loss_and_grad(mx.ones((4, 2)), mx.zeros((4, 10)))
    print("loss", loss.item())

    print(mlp)

    shapes = tree_map(lambda p: p.shape, mlp.parameters())
    print(shapes)

    num_params = sum(v.size for _, v in tree_flatten(mlp.parameters()))
    print("parameters", num_params)

    def f(params, other_inputs):
        mlp.update(params)  # Necessary to make the model use the passed parameters
        return mlp(other_inputs)

    output = f(mlp.trainable_parameters(), mx.zeros((2,)))
    print("output", output)
    return loss, grads, shapes, num_params, output


if __name__ == "__main__":
    main()
