"""The rows of the table: what is measured, and what the machine would need at the least."""

from dataclasses import dataclass

from .models import LLAMA

NO_ROW = "no such row for this peer"
NOT_BLAS = "no f32 product in it, so that BLAS changes nothing"


@dataclass(frozen=True)
class Row:
    """`units` things happen in one run; `bytes` and `flops` are a run's least traffic and work.

    `reads`: the traffic is reading alone. `blas`: it has f32 matrix products, which a BLAS
    library would speed up. `dtype` of the products decides which peak limits them. Tolerance 0:
    the peers' numbers are not comparable. `headline`: the README shows it.
    """

    name: str
    what: str
    unit: str = "ms"
    units: int = 1
    bytes: float = 0
    flops: float = 0
    reads: bool = False
    dtype: str = "f32"
    blas: bool = False
    tolerance: float = 2e-3
    process: bool = False
    headline: bool = False

    @property
    def scale(self) -> float:
        """From seconds a run to the row's unit."""
        return {"s": 1.0, "ms": 1e3, "µs": 1e6}[self.unit] / self.units


HALF = 5e-2
QUANTIZED = 0.5  # MLX adds quantized products of bf16 up in bf16: up to half of the result's spread
GPT_FLOPS = 2048 * (6 * (4 * 12 * 256 * 256 + 8192 * 256) + 12 * 4 * 256 * 256)
CONV_FLOPS = 3 * 2 * 16 * 56 * 56 * 64 * 64 * 9
ATTENTION_FLOPS = 7 * 2048 * 2048 * 64 * 16  # half of 7 products of 2 operations: causal
MATRIX = 4096 * 11008


def llama_weights() -> int:
    """Numbers that a token's pass reads."""
    width, kv = LLAMA["width"], LLAMA["width"] * LLAMA["kv"] // LLAMA["heads"]
    layer = 2 * width * (width + kv) + 3 * width * LLAMA["ffn"]
    return LLAMA["layers"] * layer + width * LLAMA["vocabulary"]


def decode(name: str, what: str, tokens: int, width: float, **more) -> Row:
    """A row of greedy decoding, whose weights have so many bytes each."""
    size = tokens * width * llama_weights()
    return Row(name, what, units=tokens, bytes=size, reads=True, **more)


def matvec(name: str, what: str, width: float, **more) -> Row:
    return Row(name, what, units=8, bytes=8 * width * MATRIX, reads=True, **more)


ROWS = (
    Row("gelu_chain", "gelu_tanh(x * a + b) + x over 16M f32", bytes=134e6, headline=True),
    Row("transposed_add", "x.T * 0.3 + y of [4096, 4096]", bytes=201e6),
    Row("softmax_rows", "softmax over the last axis of [8192, 2048]", bytes=134e6, headline=True),
    Row("softmax_grad", "softmax of [8192, 2048] and its gradient", bytes=268e6),
    Row(
        "layer_norm_grad",
        "layer norm of [8192, 1024], gradients for all",
        bytes=134e6,
        headline=True,
    ),
    Row("rms_norm_grad", "RMS norm of [8192, 1024], gradients for all", bytes=134e6),
    Row(
        "cross_entropy_grad",
        "mean cross entropy of [2048, 32000], gradient",
        bytes=524e6,
        headline=True,
    ),
    Row(
        "matmul_f32_1024",
        "1024 x 1024 by 1024 x 1024, f32",
        flops=2 * 1024**3,
        blas=True,
        headline=True,
    ),
    Row("matmul_f32_2048", "2048 x 2048 by 2048 x 2048, f32", flops=2 * 2048**3, blas=True),
    Row("matmul_f32_odd", "1009 x 1013 by 1013 x 997", flops=2 * 1009 * 1013 * 997, blas=True),
    Row("matmul_f16_2048", "2048 x 2048 by 2048 x 2048, f16", flops=2 * 2048**3, tolerance=HALF),
    Row(
        "matmul_bf16_2048",
        "2048 x 2048 by 2048 x 2048, bf16",
        flops=2 * 2048**3,
        dtype="bf16",
        tolerance=HALF,
        headline=True,
    ),
    Row("matmul_int8_2048", "2048 x 2048 by 2048 x 2048, int8 with exact int32 sums"),
    Row("matmul_512x64x64", "512 products of 64 x 64, f32", flops=512 * 2 * 64**3, blas=True),
    Row(
        "linear_gelu",
        "gelu(x @ W.T + b), x [1024, 1024], W [4096, 1024]",
        flops=2 * 1024 * 1024 * 4096,
        blas=True,
    ),
    matvec(
        "matvec_f32",
        "[1, 4096] x [4096, 11008] in f32, 8 matrices in turn; a product",
        4,
        blas=True,
    ),
    matvec("matvec_bf16", "[1, 4096] x [4096, 11008] in bf16; a product", 2, tolerance=HALF),
    matvec(
        "matvec_q8",
        "[1, 4096] x [4096, 11008], 8-bit weights in groups of 64",
        8.5 / 8,
        tolerance=QUANTIZED,
    ),
    matvec(
        "matvec_q4",
        "[1, 4096] x [4096, 11008], 4-bit weights in groups of 64",
        4.5 / 8,
        tolerance=QUANTIZED,
    ),
    Row(
        "conv2d_grad",
        "3x3 convolution, 64 to 64 channels, 16 x 56 x 56, both gradients",
        flops=CONV_FLOPS,
        blas=True,
        headline=True,
    ),
    Row(
        "depthwise_grad",
        "3x3 depthwise convolution, 128 channels, 16 x 56 x 56, both gradients",
        bytes=4 * 4 * 16 * 56 * 56 * 128,
        blas=True,
    ),
    Row(
        "conv1d_grad",
        "convolution of width 5, 128 to 128 channels, 16 x 1024, both gradients",
        flops=3 * 2 * 16 * 1024 * 5 * 128 * 128,
        blas=True,
    ),
    Row(
        "attention_grad",
        "causal attention [1, 16, 2048, 64], gradients for all",
        flops=ATTENTION_FLOPS,
        blas=True,
        headline=True,
    ),
    Row(
        "cnn_step",
        "training step of a small CNN on 64 images of 32 x 32 x 3",
        blas=True,
        headline=True,
    ),
    Row(
        "mlp_step",
        "training step of an MLP, 784-512-512-10, batch 256, Adam",
        blas=True,
        headline=True,
    ),
    Row(
        "gpt_step",
        "training step of a GPT: 4 layers, width 256",
        unit="s",
        flops=GPT_FLOPS,
        blas=True,
        headline=True,
    ),
    Row(
        "gpt_step_bf16",
        "training step of the GPT in bf16",
        unit="s",
        flops=GPT_FLOPS,
        dtype="bf16",
        tolerance=HALF,
        headline=True,
    ),
    decode(
        "llm_decode_f32", "greedy decoding of a Llama, a token", 64, 4, blas=True, headline=True
    ),
    decode(
        "llm_decode_batch4",
        "greedy decoding of four sequences at once, a token of each",
        16,
        4,
        blas=True,
    ),
    decode("llm_decode_bf16", "greedy decoding of the Llama in bf16, a token", 64, 2, tolerance=0),
    decode(
        "llm_decode_q4",
        "greedy decoding of the Llama with 4-bit weights, a token",
        8,
        4.5 / 8,
        tolerance=0,
        headline=True,
    ),
    Row("kv_update", "a position written into keys [8, 8, 4096, 64]", unit="µs", units=64),
    Row(
        "adamw_update",
        "AdamW update of 50 tensors of 1000 x 1000",
        bytes=50 * 28e6,
        headline=True,
    ),
    Row(
        "small_ops",
        "1000 operations on 16 x 16; each",
        unit="µs",
        units=1000,
        blas=True,
        headline=True,
    ),
    Row(
        "small_ops_grad",
        "1000 operations on 16 x 16 with gradient; each",
        unit="µs",
        units=1000,
        blas=True,
    ),
    Row("hessian", "Hessian of an MLP of 200 inputs, forward over reverse", blas=True),
    Row("per_example_grads", "vmap of grad of the MLP, batch 64", blas=True),
    Row("cumsum", "cumulative sum of 16M f32", bytes=134e6, tolerance=2e-2),
    Row("sort", "sort of 4M f32", headline=True),
    Row("topk", "the 50 largest of each row of [256, 32000]", bytes=33e6, reads=True),
    Row("argmax_rows", "argmax over the rows of [8192, 2048]", bytes=67e6, reads=True),
    Row("fft", "FFT of 2^20 complex numbers", bytes=16.8e6),
    Row("random_normal", "16M normal random numbers", bytes=67e6, tolerance=0),
    Row("embedding_grad", "8192 rows of [50000, 512] and the dense gradient", bytes=136e6),
    Row("import", "importing the package, its layers and optimizers", process=True),
    Row("gpt_first_step_cold", "process start to the GPT's first step", unit="s", process=True),
    Row(
        "gpt_first_step_warm",
        "process start to the GPT's first step, warm kernel caches",
        unit="s",
        process=True,
        headline=True,
    ),
)

GROUPS = {
    "elementwise": ("gelu_chain", "transposed_add", "softmax_rows", "softmax_grad"),
    "gemm": ("matmul_f32_1024", "matmul_f32_2048", "matmul_f32_odd", "matmul_512x64x64"),
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
