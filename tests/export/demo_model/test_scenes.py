"""Scenes: what is drawn is what is listed, and all of it is drawn."""

from collections import Counter

import numpy as np
import pytest

from foley_export.demo_model.scenes import (
    BACKGROUNDS,
    FOREGROUNDS,
    KINDS,
    LENGTHS,
    PITCHES,
    PULSED,
    SPEEDS,
    all_events,
    draw_event,
    draw_scene,
)

DRAWS = 6000
RELATIONS = ("alone", "then", "over")


@pytest.fixture(scope="module")
def scenes():
    rng = np.random.default_rng(1)
    return [draw_scene(rng) for _ in range(DRAWS)]


def test_the_same_generator_draws_the_same_scenes(scenes):
    rng = np.random.default_rng(1)
    assert [draw_scene(rng) for _ in range(50)] == scenes[:50]


def test_only_listed_events_are_drawn(scenes):
    listed = {relation: set(all_events(relation)) for relation in RELATIONS}
    assert {event for scene in scenes for event in scene.events if event not in listed[scene.relation]} == set()


def test_every_kind_is_drawn_in_every_place(scenes):
    places = {(scene.relation, place): set() for scene in scenes for place in range(len(scene.events))}
    for scene in scenes:
        for place, event in enumerate(scene.events):
            places[scene.relation, place].add(event.kind)
    assert places == {
        ("alone", 0): set(KINDS),
        ("then", 0): set(KINDS),
        ("then", 1): set(KINDS),
        ("over", 0): set(FOREGROUNDS),
        ("over", 1): set(BACKGROUNDS),
    }


def test_relations_have_their_shares(scenes):
    shares = Counter(scene.relation for scene in scenes)
    assert {name: count / DRAWS for name, count in shares.items()} == pytest.approx(
        {"alone": 0.4, "then": 0.4, "over": 0.2}, abs=0.03
    )


@pytest.mark.parametrize("relation", ["alone", "then"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_listed_event_is_drawn(kind, relation):
    rng = np.random.default_rng(2)
    listed = {event for event in all_events(relation) if event.kind == kind}
    assert {draw_event(rng, kind, relation) for _ in range(DRAWS)} == listed


@pytest.mark.parametrize("relation", RELATIONS)
def test_events_are_listed_once_and_in_a_fixed_order(relation):
    events = list(all_events(relation))
    assert len(set(events)) == len(events)
    assert events == list(all_events(relation))


@pytest.mark.parametrize("relation", RELATIONS)
def test_events_state_only_what_their_kind_has(relation):
    for event in all_events(relation):
        assert event.pitch in (None, *PITCHES.get(event.kind, ()))
        assert event.count == 1 or event.kind in PULSED
        assert event.speed is None or event.kind in SPEEDS or event.count >= 3
        assert event.length is None or event.kind in LENGTHS


@pytest.mark.parametrize("relation", ["then", "over"])
def test_of_two_events_none_states_speed_length_or_level(relation):
    events = list(all_events(relation))
    assert {(event.speed, event.length, event.level) for event in events} == {(None, None, None)}
    assert max(event.count for event in events) == 3
