"""What defines a run: stored with every checkpoint, so that a resumed run is the same run."""

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Settings:
    """Everything that the numbers of a run depend on, besides its text."""

    steps: int = 560
    seed: int = 0
    batch: int = 8
    context: int = 128
    layers: int = 3
    width: int = 192
    heads: int = 4
    tables: int = 3
    rows: int = 8192
    dropout: float = 0.0
    learning_rate: float = 3e-3
    warmup: int = 40
    weight_decay: float = 0.1

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "context", "layers", "width", "heads", "rows"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), not {self.dropout}")

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Settings":
        return cls(**json.loads(text))
