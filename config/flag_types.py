"""Types of flags: functions from the text on the command line to a value.

Each raises argparse.ArgumentTypeError with the rule that the text breaks.
"""

from __future__ import annotations

import argparse

from dnnlib.errors import must_be_one_of


def boolean(text):
    """True or False, in the usual spellings."""
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.lower() not in words:
        raise argparse.ArgumentTypeError(f"must be True or False, got {text!r}")
    return words[text.lower()]


def or_none(text):
    """The text; None for "None", which is how the published command line spells it."""
    return None if text == "None" else text


def number(kind, low=None, high=None, above=None):
    """Type of numbers in [low, high], or greater than ``above``."""

    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            name = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"must be {name}, got {text!r}") from None
        rules = [
            (low is not None and not value >= low, f"at least {low}"),
            (high is not None and not value <= high, f"at most {high}"),
            (above is not None and not value > above, f"greater than {above}"),
            (not float("-inf") < value < float("inf"), "finite"),
        ]
        for is_broken, rule in rules:
            if is_broken:
                raise argparse.ArgumentTypeError(f"must be {rule}, got {text}")
        return value

    parse.metavar = "N" if kind is int else "X"
    return parse


def count(low=1, high=None):
    """Type of whole numbers in [low, high]."""
    return number(int, low, high)


def one_of(*choices, **other_spellings):
    """Type of names from a list."""

    def parse(text):
        return other_spellings.get(text, text)

    parse.choices = choices  # argparse checks them, with our hints
    return parse


def key_of(table):
    """Type of names that are the keys of a table, as it is by the time of parsing."""

    def parse(text):
        return text

    parse.choices = table
    return parse


def some_of(*choices):
    """Type of one or more names from a list, separated by commas."""

    def parse(text):
        for name in text.split(","):
            if name not in choices:
                raise argparse.ArgumentTypeError(f"each name {must_be_one_of(name, choices)}")
        return text

    parse.names = choices
    parse.metavar = "NAME[,NAME...]"
    return parse


def registered(**other_spellings):
    """Type of names that the consumer of the flag lists, as losses and regularizers are."""

    def parse(text):
        return other_spellings.get(text, text)

    parse.is_registered = True  # resolve() checks them: parsing imports no consumer
    return parse


PROBABILITY = number(float, 0, 1)
POSITIVE = number(float, above=0)
NOT_NEGATIVE = number(float, 0)
