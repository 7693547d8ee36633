"""What the text encoder is asked: true answers and the head's shapes."""

import numpy as np
import torch

from foley_export.demo_model.reading import CHOICES, WIDTH, Head, Reader, answers, new_text_encoder
from foley_export.demo_model.scenes import Event, Scene, all_events, draw_scene
from foley_export.demo_model.vocabulary import vocabulary_size

SIZES = [3] + 2 * [14, 4, 3, 3, 3, 6]


def test_answers_for_one_event():
    event = Event("beeps", pitch="high", speed="fast", level="quiet", count=4)
    assert answers(Scene((event,))) == [0, 13, 3, 2, 0, 1, 4] + [0] * 6


def test_answers_for_two_events():
    scene = Scene((Event("rise"), Event("wind", pitch="low")), "over")
    assert answers(scene) == [2, 2, 0, 0, 0, 0, 1, 6, 1, 0, 0, 0, 1]


def test_order_is_told():
    tone, bell = Event("tone", length="long"), Event("bell", pitch="mid")
    there, back = (answers(Scene(pair, "then")) for pair in ((tone, bell), (bell, tone)))
    assert there[0] == back[0] == 1
    assert (there[1:7], there[7:]) == (back[7:], back[1:7])


def test_every_scene_has_answers_among_the_choices():
    rng = np.random.default_rng(1)
    for scene in [*(draw_scene(rng) for _ in range(500)), *(Scene((event,)) for event in all_events("alone"))]:
        assert all(0 <= answer < size for answer, size in zip(answers(scene), SIZES, strict=True))


def test_different_events_have_different_answers():
    events = list(all_events("alone"))
    assert len({tuple(answers(Scene((event,)))) for event in events}) == len(events)


def test_the_head_answers_every_question():
    torch.manual_seed(0)
    said = Head()(torch.randn(2, 77, WIDTH))
    assert [tuple(logits.shape) for logits in said] == [(2, size) for size in SIZES]
    assert len(SIZES) == 1 + 2 * len(CHOICES)


def test_the_encoder_takes_every_id_and_is_causal(vocabulary):
    torch.manual_seed(0)
    encoder, reader = new_text_encoder(vocabulary).eval(), Reader(vocabulary)
    ids = reader(["a low tone", "a low bell"])
    with torch.no_grad():
        hidden = encoder(ids).last_hidden_state
    assert hidden.shape == (2, 77, WIDTH)
    torch.testing.assert_close(hidden[0, :3], hidden[1, :3])
    assert not torch.allclose(hidden[0, -1], hidden[1, -1])
    assert encoder.get_input_embeddings().num_embeddings == vocabulary_size(vocabulary)
