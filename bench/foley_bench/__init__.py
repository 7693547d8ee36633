"""Benchmarks, and the random-weight checkpoints that they and the tests run on."""
