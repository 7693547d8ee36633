"""Programs of contestants: `serve.py` runs one of the others by its path, in the interpreter that has its libraries.

Each `*_peer.py` stands alone: the standard library, numpy and the peer's own libraries. Its class `Peer` has

- `LIBRARIES`: distributions whose versions are told;
- `prepare(settings, folder)`, where a peer needs files made first;
- `load(settings)`, which gives `threads`, and `emulated` where the processor lacks the precision;
- `run(task, inputs)`, which gives float32 [n,…] and how often the U-Net was evaluated.
"""
