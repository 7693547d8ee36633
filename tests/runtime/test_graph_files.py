"""What engines are told of a bundle's graphs."""

from pathlib import Path

import msgspec

import foley
from foley.graph_files import graph_file


def test_each_spelling_has_its_own_fused_operators(mini_bundle: Path):
    bundle = foley.load_bundle(mini_bundle)
    manifest = bundle.manifest
    changed = msgspec.structs.replace(
        manifest.graphs["vocoder"],
        engines={"cpu": manifest.graphs["text_encoder"].file},
        fused={manifest.graphs["text_encoder"].file: {"MultiHeadAttention": 3}},
    )
    bundle.manifest.graphs["vocoder"] = changed
    found = graph_file(bundle, "vocoder")
    assert found.spellings["cpu"].fused == {"MultiHeadAttention": 3}
    assert found.standard.fused == {}
