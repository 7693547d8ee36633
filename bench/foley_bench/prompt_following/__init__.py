"""Whether a generated clip holds what its caption asked for: plain signal processing against the caption's scene."""

from foley_bench.prompt_following.checks import Check, checks, follows
from foley_bench.prompt_following.score import Summary, Tally, summarise, summarise_checks

__all__ = ["Check", "Summary", "Tally", "checks", "follows", "summarise", "summarise_checks"]
