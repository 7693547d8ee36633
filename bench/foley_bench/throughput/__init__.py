"""How many clips a minute come out of batches of several, up to memory or saturation, and which batch is the knee."""
