"""NVIDIA's CUDA runtime, as far as engines need it: one device, one stream, memory, captured graphs."""
