"""What the values of settings may be: each function gives the value as it is meant, or raises ValueError with that."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from .room import TILE_ROWS


def one_of(*known: str) -> Callable[[Any], str]:
    """One of the known values."""

    def parse(value: Any) -> str:
        if value not in known:
            raise ValueError(f"one of {', '.join(map(repr, known))}")
        return value

    return parse


def integer(value: Any) -> int:
    """An integer that is not negative."""
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        number = -1
    if number < 0 or isinstance(value, (bool, float)):
        raise ValueError("an integer, 0 or larger")
    return number


def below(bits: int) -> Callable[[Any], int]:
    """As `integer`, of what ttnn takes in so many bits."""

    def parse(value: Any) -> int:
        number = integer(value)
        if number >> bits:
            raise ValueError(f"an integer, 0 or larger, and below 2 ** {bits}")
        return number

    return parse


def buckets(value: Any) -> int | str:
    """Either "off", or a number of rows."""
    if value == "off":
        return "off"
    try:
        rows = integer(value)
    except ValueError:
        rows = 0
    if rows < TILE_ROWS or rows % TILE_ROWS:
        raise ValueError(f"'off', or a multiple of {TILE_ROWS}, such as {4 * TILE_ROWS}")
    return rows


def boolean(value: Any) -> bool:
    """True or False, also as the environment has them."""
    known = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": False}
    if not isinstance(value, (bool, str)) or str(value).lower() not in known:
        raise ValueError("True or False (1 or 0 in the environment)")
    return known[str(value).lower()]


def pcc(value: Any) -> float | None:
    """None, or a PCC."""
    if value is None or value == "":
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = -1.0
    if not 0 < number <= 1 or isinstance(value, bool):
        raise ValueError("None, or a PCC above 0 and at most 1, such as 0.99")
    return number


def output_file(value: Any) -> str | None:
    """None, or the path of a file."""
    return _path(value, "None, or the path of a file to write, such as 't.json'")


def output_folder(value: Any) -> str | None:
    """None, or the path of a folder."""
    return _path(value, "None, or the path of a folder to write to")


def cache_folder(value: Any) -> str | None:
    """None, "1" for the default folder, or the path of a folder."""
    if value in ("0", False):
        return None
    if value in ("1", True):
        return "1"
    return _path(value, "None, 1 for the default folder, or the path of a folder")


def _path(value: Any, expected: str) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, (str, os.PathLike)) or not isinstance(os.fspath(value), str):
        raise ValueError(expected)
    return os.fspath(value)
