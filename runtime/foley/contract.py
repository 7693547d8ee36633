"""The names and sizes that exporter, engines and runtime share: each is written once, here.

Shape letters: S clips denoised together · R U-Net rows · K state slots a clip · C latent channels · H×W latent axes ·
L tokens · D width · M mel bins · T mel frames · N samples · B batch.
"""

from typing import Final

STATE_SLOTS: Final = 4
"""K. Slot 0 is the sample in variance-preserving scale; slots 1…3 are the solver's history."""

TEXT_ENCODER: Final = "text_encoder"
DENOISE_STEP: Final = "denoise_step"
LATENT_DECODER: Final = "latent_decoder"
VOCODER: Final = "vocoder"

INPUT_IDS: Final = "input_ids"  # int64 [B,L]
TOKEN_MASK: Final = "token_mask"  # noqa: S105 — float32 [B,L], 1 for a token and 0 for padding
CONTEXT: Final = "context"  # float32 [B,L,D] out of a text encoder, [R,L,D] into the denoising step

STATE: Final = "state"  # float32 [S,K,C,H,W]
STEP_MATRIX: Final = "step_matrix"  # float32 [S,K,K+2]
TIMESTEP: Final = "timestep"  # float32 [S]
NOISE: Final = "noise"  # float32 [S,C,H,W]
ROW_SLOT: Final = "row_slot"  # int64 [R], the clip that a row reads
ROW_MIX: Final = "row_mix"  # float32 [S,R], how rows combine into a clip's model output
KNOWN: Final = "known"  # float32 [S,2,C,H,W], known latents and their noise (inpainting)
KNOWN_MIX: Final = "known_mix"  # float32 [S,2]
REPAINT: Final = "repaint"  # float32 [S,1,H,W], 1 where the model paints
NEXT_STATE: Final = "next_state"  # float32 [S,K,C,H,W]

LATENTS: Final = "latents"  # float32 [B,C,H,W]
MEL: Final = "mel"  # float32 [B,M,T], the vocoder's own log-mel
WAVEFORM: Final = "waveform"  # float32 [B,N] in [-1,1]
