"""TensorRT's table of ONNX operators: which its parser takes, since when, for which types.

Facts of `docs/operators.md` of onnx-tensorrt at 10.1 and 10.15, of its changelog between, and of NVIDIA's notes after.
"""

from typing import Final

from onnx import TensorProto

from foley_export.preflight.target import Version

Types = frozenset[int]

FLOATS: Final[Types] = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16})
INTEGERS: Final[Types] = frozenset({TensorProto.INT32, TensorProto.INT64})
BOOL: Final[Types] = frozenset({TensorProto.BOOL})
NUMBERS: Final[Types] = FLOATS | INTEGERS
ANY: Final[Types] = NUMBERS | BOOL
NO_BFLOAT: Final[Types] = FLOATS - {TensorProto.BFLOAT16}
QUANTISED: Final[Types] = frozenset({TensorProto.INT8, TensorProto.INT4, TensorProto.FLOAT8E4M3FN})
"""Only between QuantizeLinear and DequantizeLinear."""
FOURTH: Final[Types] = frozenset({TensorProto.FLOAT4E2M1})
"""Quantised too, from 10.8 on."""
BYTES: Final[Types] = frozenset({TensorProto.UINT8})
"""Only as a graph's input or output."""

_BY_TYPES: Final[tuple[tuple[Types, str], ...]] = (
    (
        NUMBERS,
        "Abs Add ArgMax ArgMin DepthToSpace Div Equal Greater GreaterOrEqual IsNaN Less LessOrEqual Max Min Mod Mul "
        "Neg Pad Range ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd "
        "ReduceSum ReduceSumSquare Relu Scatter ScatterElements ScatterND Shrink Sign SpaceToDepth Sub Sum TopK Mean",
    ),
    (
        FLOATS,
        "Acos Acosh Asin Asinh Atan Atanh Attention AveragePool BatchNormalization Ceil Celu Conv ConvTranspose Cos "
        "Cosh CumSum Dropout Einsum Elu Erf Exp Floor Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool "
        "GroupNormalization GRU HardSigmoid HardSwish Hardmax ImageScaler InstanceNormalization IsInf "
        "LayerNormalization LeakyRelu Log LogSoftmax LRN LSTM LpNormalization LpPool MatMul MaxPool "
        "MeanVarianceNormalization ParametricSoftplus Pow PRelu QuantizeLinear RandomNormal RandomNormalLike "
        "RandomUniform RandomUniformLike Reciprocal RMSNormalization RNN RotaryEmbedding Round ScaledTanh Scan Selu "
        "Sigmoid Sin Sinh Softmax Softplus Softsign Sqrt Swish Tan Tanh ThresholdedRelu Upsample",
    ),
    (BOOL, "And Not Or Xor"),
    (ANY | BYTES, "Cast CastLike"),
    (
        ANY,
        "Concat Constant ConstantOfShape Expand EyeLike Flatten Gather GatherElements GatherND Identity If Loop OneHot "
        "Reshape ReverseSequence Shape Size Slice Split Squeeze Tile Transpose Trilu Unsqueeze Where",
    ),
    (NO_BFLOAT, "BlackmanWindow HammingWindow HannWindow"),
    (NO_BFLOAT, "DeformConv GridSample Mish NonMaxSuppression NonZero RoiAlign"),
    (NO_BFLOAT, "Resize"),  # its table has bfloat16 too, NVIDIA's own demos cast around it
    (QUANTISED | FOURTH, "DequantizeLinear"),
    (NUMBERS, "Clip"),  # its table has floats alone, its parser has a way for integers
    (NUMBERS | frozenset({TensorProto.INT8}), "Gelu"),
    (frozenset({TensorProto.FLOAT}), "STFT"),
    (FLOATS | frozenset({TensorProto.INT32}), "TensorScatter"),
    (FLOATS, "DFT"),
)

TYPES: Final[dict[str, Types]] = {name: types for types, names in _BY_TYPES for name in names.split()}
"""Operator → element types of what it computes on."""

SINCE: Final[dict[str, Version]] = {
    "BlackmanWindow": (10, 4),
    "HammingWindow": (10, 4),
    "HannWindow": (10, 4),
    "STFT": (10, 5),
    "Attention": (10, 14),
    "RMSNormalization": (10, 15),
    "RotaryEmbedding": (10, 15),
    "TensorScatter": (10, 15),
    "Swish": (11, 0),
    "DFT": (11, 2, 1),
}
"""Operators that came after 10.1."""

_REFUSED: Final = (
    "AffineGrid Bernoulli BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Col2Im CenterCropPad Compress "
    "ConcatFromSequence ConvInteger Det DynamicQuantizeLinear ImageDecoder MatMulInteger MaxRoiPool MaxUnpool "
    "MelWeightMatrix Multinomial NegativeLogLikelihoodLoss Optional OptionalGetElement OptionalHasElement QLinearConv "
    "QLinearMatMul RegexFullMatch SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert "
    "SequenceLength SequenceMap SoftmaxCrossEntropyLoss SplitToSequence StringConcat StringNormalizer StringSplit "
    "TfIdfVectorizer Unique"
)
REFUSED: Final[frozenset[str]] = frozenset(_REFUSED.split())
"""Operators that the tables name and refuse."""

WIDENED: Final[dict[str, tuple[Version, Types]]] = {"Pow": ((10, 12), INTEGERS)}
"""Types that an operator takes from a version on."""

UNLISTED: Final[dict[str, Types]] = {"CumSum": INTEGERS}
"""Types that no table lists for an operator, and that the parser's source lets through."""

OLDEST_OPSET: Final = 9
OPSETS: Final[tuple[tuple[Version, int, int | None], ...]] = (
    ((10, 1), 20, 21),  # ONNX 1.17, which has 22, came with 10.6
    ((10, 6), 20, 22),
    ((10, 11), 20, 23),  # ONNX 1.18
    ((10, 14), 23, 23),  # whose Attention is of opset 23
    ((10, 15), 24, 24),
    ((10, 16), 24, None),
)
"""From version · the newest opset that is known to be taken · the first known limit above it, None where none is."""


def opset_limits(version: Version) -> tuple[int, int | None]:
    """Give the newest opset known to be taken by a version, and the newest that it may take; None: not known."""
    _, taken, limit = [row for row in OPSETS if row[0] <= version][-1]
    return taken, limit


def types_of(operator: str, version: Version) -> Types:
    """Give the element types that an operator of the table takes in a version."""
    since, more = WIDENED.get(operator, (version, frozenset()))
    return TYPES[operator] | more if version >= since else TYPES[operator]
