"""Stage 3: the text encoder, CLIP's class, is taught to tell what a caption states before the denoiser learns from it.

Released systems start from a text encoder that was trained on pairs of texts and pictures. Here the scenes themselves
are known, so the encoder learns to name each event's attributes: minutes of work that spare the denoiser an hour.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizerFast

from foley_export.demo_model.captions import draw_caption, held_out
from foley_export.demo_model.device import send
from foley_export.demo_model.scenes import KINDS, Event, Scene, draw_scene
from foley_export.demo_model.training import adamw, descend, train
from foley_export.demo_model.vocabulary import MAX_TOKENS, vocabulary_size

SEED: Final = 14
BATCH: Final = 48
WIDTH: Final = 128
"""D: of the text encoder and of the U-Net's cross-attention."""
CHOICES: Final[tuple[tuple[Any, ...], ...]] = (
    (None, *KINDS),
    (None, "low", "mid", "high"),
    (None, "slow", "fast"),
    (None, "short", "long"),
    (None, "quiet", "loud"),
    (0, 1, 2, 3, 4, 5),
)
"""What may be said of an event: kind, pitch, speed, length, level, count; of a missing one, the first of each."""
RELATIONS: Final = ("alone", "then", "over")


class ReadingTask:
    """Training of the text encoder with a small head that is thrown away."""

    name = "reading"

    def __init__(self, tokenizer: Path, steps: int, device: torch.device) -> None:
        torch.manual_seed(SEED)
        self.tokenizer, self.steps, self.device = Reader(tokenizer), steps, device
        self.modules = nn.ModuleDict({"text": new_text_encoder(tokenizer), "head": Head()}).to(device)
        self.optimisers = [adamw(self.modules, 1e-3)]

    def advance(self, step: int) -> dict[str, Tensor]:
        """Make one step; see `Task`."""
        rng = np.random.default_rng([SEED, step])
        scenes = [training_text(rng) for _ in range(BATCH)]
        tokens = send(self.tokenizer([caption for _, caption in scenes]), self.device)
        targets = send(torch.tensor([answers(scene) for scene, _ in scenes]), self.device)
        hidden = self.modules["text"](tokens).last_hidden_state
        answered = self.modules["head"](hidden)
        loss = torch.stack([cross_entropy(said, targets[:, i]) for i, said in enumerate(answered)]).mean()
        right = torch.stack([said.argmax(1) == targets[:, i] for i, said in enumerate(answered)]).all(0)
        descend(loss, self.modules, *self.optimisers)
        return {"loss": loss.detach(), "all right": right.float().mean()}


class Reader:
    """Captions to token ids int64 [B,77], padded as Stable Diffusion pads."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = CLIPTokenizerFast.from_pretrained(str(folder))

    def __call__(self, captions: list[str]) -> Tensor:
        """Encode captions; longer ones are cut."""
        ids = self.tokenizer(
            captions, padding="max_length", max_length=MAX_TOKENS, truncation=True, return_tensors="pt"
        )
        tokens: Tensor = ids.input_ids
        return tokens


class Head(nn.Module):
    """Asks the hidden states each question by attention, and answers from what it finds."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [len(RELATIONS), *(len(choices) for choices in CHOICES * 2)]
        self.questions = nn.Parameter(torch.randn(len(sizes), WIDTH) / WIDTH**0.5)
        self.answers = nn.ModuleList(nn.Linear(WIDTH, size) for size in sizes)

    def forward(self, hidden: Tensor) -> list[Tensor]:
        """Give the logits of every answer from hidden states [B,L,D]."""
        weights = (self.questions @ hidden.transpose(1, 2)).softmax(-1)
        found = weights @ hidden
        return [answer(found[:, i]) for i, answer in enumerate(self.answers)]


def new_text_encoder(tokenizer: Path) -> nn.Module:
    """Give the text encoder with random weights, for a written vocabulary."""
    encoder: nn.Module = CLIPTextModel(text_config(vocabulary_size(tokenizer)))
    return encoder


def text_config(vocabulary: int) -> CLIPTextConfig:
    """Give the config of two layers of width 128."""
    return CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=MAX_TOKENS,
        projection_dim=WIDTH,
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        pad_token_id=vocabulary - 1,
    )


def training_text(rng: np.random.Generator) -> tuple[Scene, str]:
    """Draw a scene and a caption of it, neither held out."""
    while True:
        scene = draw_scene(rng)
        caption = draw_caption(scene, rng)
        if not held_out(scene, caption):
            return scene, caption


def answers(scene: Scene) -> list[int]:
    """Give the index of each true answer: the relation, then all that is said of the first and the second event."""
    events: list[Event | None] = [*scene.events, None][:2]
    said = [index for event in events for index in _said(event)]
    return [RELATIONS.index(scene.relation), *said]


def _said(event: Event | None) -> list[int]:
    if event is None:
        return [0] * len(CHOICES)
    stated = (event.kind, event.pitch, event.speed, event.length, event.level, event.count)
    return [choices.index(value) for choices, value in zip(CHOICES, stated, strict=True)]


def train_text_encoder(tokenizer: Path, folder: Path, steps: int, device: torch.device) -> nn.Module:
    """Train or resume on a device, and give the text encoder on the CPU."""
    task = ReadingTask(tokenizer, steps, device)
    train(task, folder)
    return task.modules["text"].cpu()
