"""Checkpoint to bundle: loaders, graph wrappers, tracing, precision and golden I/O."""
