"""Jacobian-vector products: how outputs change when inputs move along tangents.

python -m examples.documents.jvp
"""

import mlx.core as mx


def main():
    def fun(x, y):
        return x * mx.sin(y), x + y

    primals = [mx.array([1.0, 2.0]), mx.array([0.5, 1.5])]
    tangents = [mx.array([1.0, 0.0]), mx.array([0.0, 1.0])]

    outputs, jvps = mx.jvp(fun, primals, tangents)
    print("outputs", outputs)
    print("Jacobian-vector products", jvps)

    single, change = mx.jvp(mx.exp, [mx.array(0.0)], [mx.array(2.0)])
    print("exp", single, change)
    return outputs, jvps, single, change


if __name__ == "__main__":
    main()
