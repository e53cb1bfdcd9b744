"""The rows of the table: what is measured, and what the machine would need at the least."""

from dataclasses import dataclass

MILLION = 1e6
NO_ROW = "no such row for this peer"


@dataclass(frozen=True)
class Row:
    """`units` things happen in one run; `bytes` and `flops` are a run's least traffic and work."""

    name: str
    what: str
    unit: str = "ms"
    units: int = 1
    bytes: float = 0
    flops: float = 0
    tolerance: float = 2e-3
    process: bool = False

    @property
    def scale(self) -> float:
        """From seconds a run to the row's unit."""
        return {"s": 1.0, "ms": 1e3, "µs": 1e6}[self.unit] / self.units


HALF = 5e-2
GPT_FLOPS = 2048 * (6 * (4 * 12 * 256 * 256 + 8192 * 256) + 12 * 4 * 256 * 256)

ROWS = (
    Row("gelu_chain", "gelu_tanh(x * a + b) + x over 16M f32", bytes=134e6),
    Row("softmax_rows", "softmax over the last axis of [8192, 2048]", bytes=134e6),
    Row("softmax_grad", "the same, and its gradient", bytes=201e6),
    Row("layer_norm_grad", "layer norm of [8192, 1024], gradients for all", bytes=101e6),
    Row("cross_entropy_grad", "mean cross entropy of [2048, 32000], gradient", bytes=524e6),
    Row("matmul_f32_1024", "1024 x 1024 by 1024 x 1024, f32", flops=2 * 1024**3),
    Row("matmul_f32_2048", "2048 x 2048 by 2048 x 2048, f32", flops=2 * 2048**3),
    Row("matmul_bf16_2048", "the same in bf16", flops=2 * 2048**3, tolerance=HALF),
    Row("matmul_512x64x64", "512 products of 64 x 64, f32", flops=512 * 2 * 64**3),
    Row(
        "matvec_bf16",
        "[1, 4096] x [4096, 11008] in bf16, 8 matrices in turn; a product",
        units=8,
        bytes=8 * 2 * 4096 * 11008,
        tolerance=HALF,
    ),
    Row(
        "conv2d_grad",
        "3x3 convolution, 64 to 64 channels, 16 x 56 x 56, both gradients",
        flops=3 * 2 * 16 * 56 * 56 * 64 * 64 * 9,
    ),
    Row("cnn_step", "training step of a small CNN on 64 images of 32 x 32 x 3"),
    Row("mlp_step", "training step of an MLP, 784-512-512-10, batch 256, Adam"),
    Row("gpt_step", "training step of a GPT: 4 layers, width 256", unit="s", flops=GPT_FLOPS),
    Row("gpt_step_bf16", "the same in bf16", unit="s", flops=GPT_FLOPS, tolerance=HALF),
    Row("llm_decode_f32", "greedy decoding of a Llama, a token", units=64, tolerance=0),
    Row("llm_decode_bf16", "the same in bf16", units=64, tolerance=0),
    Row("llm_decode_q4", "the same with 4-bit weights", units=8, tolerance=0),
    Row("adamw_update", "AdamW update of 50 tensors of 1000 x 1000", bytes=50 * 28 * MILLION),
    Row("small_ops", "1000 operations on 16 x 16; each", unit="µs", units=1000),
    Row("small_ops_grad", "the same with gradient; each", unit="µs", units=1000),
    Row("hessian", "Hessian of an MLP of 200 inputs, forward over reverse"),
    Row("per_example_grads", "vmap of grad of the MLP, batch 64"),
    Row("cumsum", "cumulative sum of 16M f32", bytes=134e6, tolerance=2e-2),
    Row("sort", "sort of 4M f32"),
    Row("argmax_rows", "argmax over the rows of [8192, 2048]", bytes=67e6),
    Row("fft", "FFT of 2^20 complex numbers", bytes=16.8e6),
    Row("random_normal", "16M normal random numbers", bytes=67e6, tolerance=0),
    Row("embedding_grad", "8192 rows of [50000, 512] and the dense gradient", bytes=136e6),
    Row("import", "importing the package, its layers and optimizers", process=True),
    Row("gpt_first_step_cold", "process start to the first step", unit="s", process=True),
    Row("gpt_first_step_warm", "the same with warm kernel caches", unit="s", process=True),
)

GROUPS = {
    "elementwise": ("gelu_chain", "softmax_rows", "softmax_grad"),
    "gemm": ("matmul_f32_1024", "matmul_f32_2048", "matmul_512x64x64"),
}


def choose(names: list[str]) -> list[Row]:
    """The rows of these names, groups or beginnings of names; all for none."""
    if not names:
        return list(ROWS)
    wanted: set[str] = set()
    for name in names:
        known = GROUPS.get(name) or tuple(r.name for r in ROWS if r.name.startswith(name))
        if not known:
            raise ValueError(f"no row is called {name}; known: {', '.join(r.name for r in ROWS)}")
        wanted.update(known)
    return [row for row in ROWS if row.name in wanted]
