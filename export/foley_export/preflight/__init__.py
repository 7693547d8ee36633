"""Says on any machine whether a bundle's graphs will parse in TensorRT, by tables and rules; runs nothing."""
