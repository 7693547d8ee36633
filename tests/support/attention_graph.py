"""A graph of two fused attention nodes, as the exporter spells them for ONNX Runtime."""

from pathlib import Path

from onnx import parser

from foley_engines import Spelling

TEXT = """<ir_version: 9, opset_import: ["" : 20, "com.microsoft" : 1]>
attention (float[B,L,8] x) => (float[B,L,8] y) {
    first = com.microsoft.MultiHeadAttention <num_heads = 2> (x, x, x)
    y = com.microsoft.MultiHeadAttention <num_heads = 4> (first, first, first)
}"""
ATTENTION = "MultiHeadAttention"


def attention_spelling(folder: Path, count: int = 2) -> Spelling:
    """Write the graph, of which the spelling says that it has `count` such nodes."""
    file = folder / "attention.onnx"
    file.write_bytes(parser.parse_model(TEXT).SerializeToString())
    return Spelling(file, fused={ATTENTION: count})
