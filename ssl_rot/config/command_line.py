"""The command line, before Hydra parses it."""

import re

_NUMBER = r"[+-]?\.?\d[\w.+-]*"
_WITH_APOSTROPHE = r"[^'\",\\]+'[^\",\\]*"


def quote_name(argument: str, key: str) -> str:
    """Quotes the value of ``key`` if Hydra would change or refuse it: ``2024_01``, ``o'brien``."""
    name, equals, value = argument.partition("=")
    if name != key or not re.fullmatch(f"{_NUMBER}|{_WITH_APOSTROPHE}", value):
        return argument
    return f'{name}{equals}"{value}"'
