"""TensorRT, 10.3 to 11: build plans from graphs, keep them, run them. Strongly typed networks only."""
