"""Captions: true to their scenes, varied, grammatical, and parted from those that are held out."""

import re
from collections import defaultdict

import numpy as np
import pytest

from foley_export.demo_model.captions import (
    LENGTH_WORDS,
    LEVEL_WORDS,
    MASS,
    NOUNS,
    PITCH_WORDS,
    SPEED_WORDS,
    WIND_WORDS,
    draw_caption,
    held_out,
)
from foley_export.demo_model.scenes import KINDS, PULSED, Event, Scene, all_events, draw_scene

DRAWS = 6000
NUMBERS = {1: {"a", "an", "one"}, 2: {"two", "2"}, 3: {"three", "3"}, 4: {"four", "4"}, 5: {"five", "5"}}
LEADS = ("the sound of ", "there is ", "we hear ")
TYPICAL = [
    Scene((Event("tone"),)),
    Scene((Event("hum"),)),
    Scene((Event("clicks", count=3, speed="fast"),)),
    Scene((Event("bell", pitch="high"), Event("knocks", count=2)), "then"),
    Scene((Event("drums", count=3), Event("wind", pitch="low")), "over"),
]


def attributes(event: Event):
    """Each attribute with its words by value."""
    pitches = WIND_WORDS if event.kind == "wind" else PITCH_WORDS
    return zip(
        (event.pitch, event.speed, event.length, event.level),
        (pitches, SPEED_WORDS, LENGTH_WORDS, LEVEL_WORDS),
        strict=True,
    )


def phrase(caption: str) -> str:
    """A caption of one event without what surrounds it."""
    for lead in LEADS:
        caption = caption.removeprefix(lead)
    return caption.removesuffix(" on its own")


@pytest.fixture(scope="module")
def alone():
    """Every single event with six of its captions."""
    rng = np.random.default_rng(1)
    return [(event, draw_caption(Scene((event,)), rng)) for event in all_events("alone") for _ in range(6)]


@pytest.fixture(scope="module")
def drawn():
    rng = np.random.default_rng(2)
    scenes = [draw_scene(rng) for _ in range(DRAWS)]
    return [(scene, draw_caption(scene, rng)) for scene in scenes]


def test_a_caption_names_the_kind(alone):
    for event, caption in alone:
        heads = {noun.split()[0] for noun in NOUNS[event.kind]} | {noun.split()[-1] for noun in NOUNS[event.kind]}
        words = {word.removesuffix("s") for word in caption.split()} | set(caption.split())
        assert words & heads, caption


def test_a_caption_names_what_is_stated_and_nothing_else(alone):
    for event, caption in alone:
        words = set(caption.split())
        for stated, table in attributes(event):
            assert {value for value, synonyms in table.items() if words & set(synonyms)} == {stated} - {None}, caption


@pytest.mark.parametrize("table", [PITCH_WORDS, WIND_WORDS, SPEED_WORDS, LENGTH_WORDS, LEVEL_WORDS])
def test_no_word_stands_for_two_values(table):
    words = [word for synonyms in table.values() for word in synonyms]
    assert len(set(words)) == len(words)


def test_no_noun_stands_for_two_kinds():
    nouns = [noun for kind in KINDS for noun in NOUNS[kind]]
    assert len(set(nouns)) == len(nouns)


def test_counts_agree_with_their_nouns(alone):
    plural = re.compile(r"\b(clicks|ticks|knocks|beats|hits|thumps|beeps)\b")
    for event, caption in alone:
        if event.kind in PULSED:
            assert phrase(caption).split()[0] in NUMBERS[event.count], caption
            assert bool(plural.search(caption)) == (event.count > 1), caption


def test_articles_fit_what_follows(drawn):
    for _, caption in drawn:
        for article, letter in re.findall(r"\b(an?) (\w)", caption):
            assert (article == "an") == (letter in "aeiou"), caption


def test_what_can_be_counted_has_an_article_and_what_cannot_has_none(alone):
    for event, caption in alone:
        if event.kind not in PULSED:
            burst = "burst of" in caption
            mass = any(noun in caption for noun in MASS) and not burst
            assert burst == (event.kind == "noise" and event.length == "short"), caption
            assert (phrase(caption).split()[0] in {"a", "an"}) != mass, caption


def test_captions_are_plain_lower_case_text(drawn):
    for _, caption in drawn:
        assert re.fullmatch(r"[a-z0-9-]+(,? [a-z0-9-]+)*", caption), caption


@pytest.mark.parametrize(
    ("relation", "wordings"),
    [
        ("then", {"A, then B", "A and then B", "A followed by B", "A before B", "B after A", "first A, then B"}),
        ("over", {"A over B", "A with B in the background", "A on top of B", "A against B", "B with A over it"}),
    ],
)
def test_two_events_keep_their_roles_in_every_wording(relation, wordings):
    scene, rng = Scene((Event("beeps", count=2), Event("wind")), relation), np.random.default_rng(3)
    seen = {draw_caption(scene, rng) for _ in range(400)}
    marked = {re.sub(r"(two|2) (electronic )?beeps", "A", caption) for caption in seen}
    assert {re.sub(r"gusty wind|gusts of wind|wind blowing|wind", "B", caption) for caption in marked} == wordings


@pytest.mark.parametrize("scene", TYPICAL, ids=lambda scene: f"{scene.events[0].kind}-{scene.relation}")
def test_a_scene_has_many_wordings(scene):
    rng = np.random.default_rng(4)
    assert len({draw_caption(scene, rng) for _ in range(300)}) >= 10


def test_the_same_generator_gives_the_same_wording():
    wordings = [[draw_caption(scene, np.random.default_rng(5)) for scene in TYPICAL] for _ in range(2)]
    assert wordings[0] == wordings[1]


def test_no_caption_fits_two_scenes(alone, drawn):
    scenes = defaultdict(set)
    for scene, caption in [*drawn, *((Scene((event,)), caption) for event, caption in alone)]:
        scenes[caption].add(scene)
    assert {caption: fitting for caption, fitting in scenes.items() if len(fitting) > 1} == {}


def test_some_pairs_of_kinds_are_held_out_in_every_wording_and_no_kind_is_in_all_its_pairs():
    rng = np.random.default_rng(6)
    out = set()
    for first in KINDS:
        for second in KINDS:
            scene = Scene((Event(first), Event(second)), "then")
            if all(held_out(scene, draw_caption(scene, rng)) for _ in range(20)):
                out.add((first, second))
    assert 1 / 12 < len(out) / len(KINDS) ** 2 < 1 / 3
    for kind in KINDS:
        assert {place: sum(pair[place] == kind for pair in out) < len(KINDS) / 2 for place in (0, 1)} == {
            0: True,
            1: True,
        }


def test_some_combinations_of_attributes_are_held_out_and_no_single_attribute_is():
    rng = np.random.default_rng(7)
    whole = []
    for event in all_events("alone"):
        scene = Scene((event,))
        if all(held_out(scene, draw_caption(scene, rng)) for _ in range(20)):
            stated = (event.pitch, event.speed, event.length, event.level)
            whole.append(sum(value is not None for value in stated) + (event.count > 1))
    assert len(whole) > 10
    assert min(whole) == 2


def test_a_tenth_of_the_captions_of_other_scenes_is_held_out():
    rng = np.random.default_rng(8)
    events = [event for event in all_events("alone") if (event.pitch, event.speed, event.length) == (None, None, None)]
    scenes = [Scene((event,)) for event in events if event.level is None and event.count == 1]
    texts = {
        caption: held_out(scene, caption)
        for scene in scenes
        for _ in range(60)
        for caption in [draw_caption(scene, rng)]
    }
    assert 0.05 < sum(texts.values()) / len(texts) < 0.15
