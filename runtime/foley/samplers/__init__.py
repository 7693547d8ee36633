"""Samplers as tables of small matrices: every solver in use is linear in its state once its timesteps are chosen.

`table.py` is the way in, `registry.py` lists the samplers, `path.py` lays out timesteps and noise levels,
`linear_form.py` holds the notation, and each other file is one family of solvers.
"""

from foley.samplers.registry import SAMPLERS, Sampler
from foley.samplers.table import SamplerTable, find_sampler, sampler_path, sampler_table, step_matrices

__all__ = ["SAMPLERS", "Sampler", "SamplerTable", "find_sampler", "sampler_path", "sampler_table", "step_matrices"]
