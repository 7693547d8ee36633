"""Random-weight Auffusion checkpoints in the released folder layouts, for tests and benchmarks without a download."""

from foley_bench.checkpoints.write import write_checkpoint

__all__ = ["write_checkpoint"]
