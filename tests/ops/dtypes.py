"""Result dtypes as MLX has them: for each operation one letter a dtype of the operand.

The order is that of ``NAMES``; ``-`` says that the operation raises ValueError.
"""

from __future__ import annotations

NAMES = (
    "bool_", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64",
    "float16", "bfloat16", "float32", "float64", "complex64",
)  # fmt: skip
LETTERS = dict(zip("?BHIQbhilefdFc", NAMES, strict=True))
SAME, FLOAT, REAL_FLOAT = "?BHIQbhilefdFc", "dddddddddefdFc", "dddddddddefdF-"
TRUTH, SUMS, INDEX = "?" * 14, "iIIIQiiilefdFc", "I" * 14

UNARY = {
    "abs": "?BHIQbhilefdFd", "bitwise_invert": "?BHIQbhil-----", "negative": SAME.replace("?", "-"),
    "imag": "?BHIQbhilefdFd", "real": "?BHIQbhilefdFd", "nan_to_num": "?BHIQbhilefdF-",
} | dict.fromkeys(
    ("arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctanh", "cos", "cosh", "degrees",
     "radians", "exp", "log", "log10", "log1p", "log2", "reciprocal", "rsqrt", "sin", "sinh",
     "sqrt", "tan", "tanh"), FLOAT
) | dict.fromkeys(("erf", "erfinv", "expm1", "sigmoid"), REAL_FLOAT) | dict.fromkeys(
    ("ceil", "floor", "trunc"), SAME[:-1] + "-"
) | dict.fromkeys(("conj", "positive", "round", "sign", "square"), SAME) | dict.fromkeys(
    ("isfinite", "isinf", "isnan", "isneginf", "isposinf", "logical_not"), TRUTH
)  # fmt: skip

REDUCTIONS = {
    "sum": SUMS, "prod": SUMS, "max": SAME, "min": SAME, "mean": FLOAT, "var": FLOAT[:-1] + "d",
    "std": FLOAT[:-1] + "d", "any": TRUTH, "all": TRUTH, "logsumexp": FLOAT, "softmax": FLOAT,
    "argmax": INDEX, "argmin": INDEX, "cumsum": "i" + SAME[1:], "cumprod": SAME,
    "cummax": SAME, "cummin": SAME, "logcumsumexp": FLOAT, "median": FLOAT,
    "count_nonzero": "i" * 14, "sort": SAME, "argsort": INDEX,
}  # fmt: skip

BINARY = {
    "divide": FLOAT, "floor_divide": SAME[:-1] + "-", "remainder": SAME[:-1] + "-",
    "arctan2": REAL_FLOAT, "logaddexp": FLOAT,
} | dict.fromkeys(
    ("add", "subtract", "multiply", "power", "maximum", "minimum"), SAME
) | dict.fromkeys(
    ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "isclose",
     "logical_and", "logical_or", "logical_xor"), TRUTH
) | dict.fromkeys(("bitwise_and", "bitwise_or", "bitwise_xor"), SAME[:9] + "-----") | dict.fromkeys(
    ("left_shift", "right_shift"), "BBHIQbhil-----"
)  # fmt: skip
