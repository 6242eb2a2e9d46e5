"""Checks the keys and values of a config against the signatures of its targets and the schema."""

import difflib
import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hydra.utils import get_object

from ssl_rot.config.schema import BUILDER_KEYS, GROUPS, SECTIONS, TOP_LEVEL, TORCH_ARGUMENTS
from ssl_rot.config.values import find_value_fault
from ssl_rot.errors import as_text

# Arguments that the program passes to a group's target; the config cannot set them.
SUPPLIED = {
    "dataset": {"seed"},
    "model": {"in_channels"},
    "head": {"in_channels", "num_classes"},
}

# A value that refers to another key: ${.sibling}, ${..key_of_the_parent}, ${any.key}.
REFERENCE = re.compile(r"\$\{(\.*)([\w.]+)\}")


class Checker:
    """Finds faults in single keys and values, each reported at the key that sets the value.

    ``raw`` is the flat config before its references are resolved.
    """

    def __init__(self, raw: Mapping[str, Any], reported: Iterable[str]) -> None:
        self._raw = raw
        self._reported = set(reported)

    def find_faults(self, config: Mapping[str, Any]) -> Iterator[str]:
        """The faults of a resolved config."""
        required = [*TOP_LEVEL, *SECTIONS]
        known = [*GROUPS, *required]
        for key in [key for key in config if key not in known]:
            yield f"{key} is not a known key; {_suggest(key, known)}allowed: {', '.join(known)}"
        for key in required:
            if key not in config:
                yield f"{key} is not set, but every config needs it"
        yield from self._check_values("", config, TOP_LEVEL)
        for section, types in SECTIONS.items():
            yield from self._check_section(section, types, config.get(section, {}))
        for group in GROUPS:
            node = config.get(group)
            if not isinstance(node, dict) or "_target_" not in node:
                yield f"{group}={node!r} is not an option of the group: it has no _target_"
            else:
                yield from self._check_node(group, node)

    def _check_section(self, section: str, types: Mapping[str, Any], node: Any) -> Iterator[str]:
        if not isinstance(node, dict):
            keys = " and ".join(types)
            yield f"{section}={as_text(node)} is not allowed; it must be a node with {keys}"
            return
        for key in sorted(node.keys() - types):
            yield f"{section}.{key} is not a known key; allowed: {', '.join(sorted(types))}"
        yield from self._check_values(f"{section}.", node, types)

    def _check_node(self, path: str, node: Mapping[str, Any]) -> Iterator[str]:
        """Checks a node with a ``_target_``, and the nodes below it."""
        target: str = node["_target_"]
        own = target.startswith("ssl_rot.")
        types = dict(TORCH_ARGUMENTS.get(target, {}))
        try:
            signature = inspect.signature(get_object(target), eval_str=own)
        except ValueError:  # a builtin without a signature
            pass
        except Exception as error:
            reason = " ".join(str(error).split())
            yield f"{path}._target_={target} cannot be imported: {reason}"
            return
        else:
            yield from _find_key_faults(path, node, signature)
            if own:
                types |= {p.name: p.annotation for p in signature.parameters.values()}
        yield from self._check_values(f"{path}.", node, types | BUILDER_KEYS.get(path, {}))
        for key, value in node.items():
            if isinstance(value, dict) and "_target_" in value:
                yield from self._check_node(f"{path}.{key}", value)

    def _check_values(
        self, prefix: str, node: Mapping[str, Any], types: Mapping[str, Any]
    ) -> Iterator[str]:
        for name, annotation in types.items():
            key = self._resolve(prefix + name)
            if name not in node or key in self._reported:
                continue
            allowed = find_value_fault(node[name], annotation)
            if allowed is not None:
                self._reported.add(key)
                yield f"{key}={as_text(node[name])} is not allowed; it must be {allowed}"

    def _resolve(self, key: str) -> str:
        """The key that sets the value: ``dataset.root`` for ``dataset.source.root``."""
        while match := REFERENCE.fullmatch(str(self._raw.get(key, ""))):
            dots, name = match.groups()
            parents = key.split(".")[: -len(dots)] if dots else []
            key = ".".join([*parents, name])
        return key


def _suggest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}? " if close else ""


def _find_key_faults(
    path: str, node: Mapping[str, Any], signature: inspect.Signature
) -> Iterator[str]:
    target = node["_target_"]
    parameters = signature.parameters.values()
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    supplied = SUPPLIED.get(path, set())
    known = [name for name in named if name not in supplied] + list(BUILDER_KEYS.get(path, {}))
    given = {key for key in node if not (key.startswith("_") and key.endswith("_"))}
    for key in sorted(given - set(known)) if not takes_any else ():
        allowed = f"{_suggest(key, known)}allowed: {', '.join(known) or 'none'}"
        yield f"{path}.{key} is not a key of {target}; {allowed}"
    if not node.get("_partial_"):
        needed = {p.name for p in parameters if p.default is p.empty and p.name in known}
        for key in sorted(needed - given):
            yield f"{path}.{key} is not set, and {target} needs it"
