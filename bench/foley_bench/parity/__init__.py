"""Parity with the reference recipes: graphs against torch, samplers against diffusers, whole clips against both.

`reference.py` and `hifigan.py` follow the published recipes with stock torch, transformers and diffusers classes and
import nothing from the exporter, so that a mistake there cannot hide here. `figures.py` measures, `table.py` renders.
"""
