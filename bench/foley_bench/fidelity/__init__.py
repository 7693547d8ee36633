"""Builds on the same seeds and prompts: what each departs from the first, and how fast it is beside it."""
