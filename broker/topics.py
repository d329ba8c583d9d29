"""AMQP's topic matching: words between dots, ``*`` for one word, ``#`` for any number of them. Pure."""

from __future__ import annotations


def matches(pattern: str, key: str) -> bool:
    """Tell whether a routing key matches a binding's pattern, as a topic exchange does."""
    return _matches(_words(pattern), _words(key))


def _words(text: str) -> list[str]:
    return text.split(".") if text else []


def _matches(pattern: list[str], words: list[str]) -> bool:
    # The set of places in the pattern that the words so far can have led to: linear where recursion would explode.
    places = _past_hashes(pattern, {0})
    for word in words:
        stepped = {
            place if pattern[place] == "#" else place + 1
            for place in places
            if place < len(pattern) and pattern[place] in {"#", "*", word}
        }
        places = _past_hashes(pattern, stepped)
    return len(pattern) in places


def _past_hashes(pattern: list[str], places: set[int]) -> set[int]:
    """Add the places reached by letting ``#`` stand for nothing."""
    reached = set(places)
    for place in places:
        following = place
        while following < len(pattern) and pattern[following] == "#":
            following += 1
            reached.add(following)
    return reached
