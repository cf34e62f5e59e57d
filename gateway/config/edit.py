"""Adding to a cluster.yaml that a person wrote: comments, order and layout stay as they are.

The text is changed at one place and read again: what does not say exactly the old configuration and the addition is
not written. A shape that can't be edited that way is refused with the lines to paste.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml

from gateway.config.document import DocumentError, Plain, parse_document
from gateway.config.files import read_config_text
from gateway.config.load import parse_config
from gateway.config.template import yaml_text

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class CannotEdit(Exception):
    """The file was left as it is. `reason` says why, `lines` are what a person may write into it."""

    code = "cannot-edit"

    def __init__(self, reason: str, lines: str) -> None:
        self.reason, self.lines = reason, lines
        super().__init__(f"{reason}; write this into it yourself:\n{lines}")


def add_peer(text: str, cluster: str, trust_domain: str, root: str) -> str:
    """`text` with a peer more; the same text if that peer is there already. Raises CannotEdit."""
    entry = f"{yaml_text(cluster)}: {{trust_domain: {yaml_text(trust_domain)}, root: {yaml_text(root)}}}"
    lines = f"peers:\n  {entry}\n"
    pinned: Plain = {"trust_domain": trust_domain, "root": root}
    before = _read(text, lines)
    peers = before.get("peers", {})
    if not isinstance(peers, dict):
        raise CannotEdit("peers is not a mapping", lines)
    there = peers.get(cluster)
    if there == pinned:
        return text
    if there is not None:
        raise CannotEdit(f"peers.{cluster} is there already, with another trust domain or root", lines)
    wanted: dict[str, Plain] = {**before, "peers": {**peers, cluster: pinned}}
    return _checked(text, wanted, lines, lambda: _insert(text, "peers", [entry]))


def add_etcd(text: str, endpoints: Sequence[str], prefix: str) -> str:
    """`text` with an `etcd` section. There must be none yet. Raises CannotEdit."""
    listed = ", ".join(yaml_text(url) for url in endpoints)
    entries = [f"endpoints: [{listed}]", f"prefix: {yaml_text(prefix)}"]
    lines = "etcd:\n" + "".join(f"  {entry}\n" for entry in entries)
    before = _read(text, lines)
    if "etcd" in before:
        raise CannotEdit("etcd is there already", lines)
    wanted: dict[str, Plain] = {**before, "etcd": {"endpoints": tuple(endpoints), "prefix": prefix}}
    return _checked(text, wanted, lines, lambda: _insert(text, "etcd", entries))


def rewrite(path: Path, change: Callable[[str], str]) -> bool:
    """Changes the file with `change`, in one step, keeping its mode; returns whether anything changed. What comes out
    must be a valid configuration. Raises CannotEdit (also `change` may), ValueError when it can't be read."""
    target = path.resolve()
    before = read_config_text(target)
    after = change(before)
    if after == before:
        return False
    validation = parse_config(after, path)
    if validation.config is None:
        raise CannotEdit(f"{path} would not be valid: {validation.errors[0]}", _added(before, after))
    try:
        _replace(target, after)
    except OSError as error:
        raise CannotEdit(f"{path} can't be written: {error.strerror}", _added(before, after)) from None
    return True


def _added(before: str, after: str) -> str:
    known = set(before.splitlines())
    return "".join(f"{line}\n" for line in after.splitlines() if line not in known and line.strip())


def _replace(target: Path, text: str) -> None:
    mode = stat.S_IMODE(target.stat().st_mode)
    descriptor, draft = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        # In bytes, so that the file's own line ends stay what they are.
        with open(descriptor, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        os.chmod(draft, mode)
        os.replace(draft, target)
    except BaseException:
        os.unlink(draft)
        raise


def _read(text: str, lines: str) -> dict[str, Plain]:
    try:
        plain = parse_document(text).plain()
    except DocumentError as error:
        raise CannotEdit(f"it can't be read: {error}", lines) from None
    if not isinstance(plain, dict):
        raise CannotEdit("it is not a mapping", lines)
    return plain


def _checked(text: str, wanted: Plain, lines: str, insert: Callable[[], str | None]) -> str:
    """What `insert` makes of `text`, if it says `wanted`."""
    after = insert()
    try:
        if after is not None and parse_document(after).plain() == wanted:
            return after
    except DocumentError:
        pass
    raise CannotEdit("its layout is none that can be edited safely", lines)


def _insert(text: str, section: str, entries: Sequence[str]) -> str | None:
    """`text` with entries at the end of a section, which is made if it is not there."""
    try:
        root = yaml.compose(text, Loader=_LOADER)
    except yaml.YAMLError:
        return None  # It minds what our reader does not, such as an anchor that is used again.
    if not isinstance(root, yaml.MappingNode) or not root.value:
        return None
    found = next((value for key, value in root.value if key.value == section), None)
    if isinstance(found, yaml.MappingNode):
        return _insert_into(text, found, entries)
    if root.flow_style:
        return _insert_flow(text, root, f"{section}: {{{', '.join(entries)}}}")
    indent = " " * root.value[0][0].start_mark.column
    block = [f"{indent}{section}:", *(f"{indent}  {entry}" for entry in entries)]
    end = _newline(text)
    start = text if text.endswith(("\n", "\r")) else text + end
    return start + end + "".join(line + end for line in block)


def _insert_into(text: str, mapping: yaml.MappingNode, entries: Sequence[str]) -> str | None:
    if mapping.flow_style:
        return _insert_flow(text, mapping, ", ".join(entries))
    indent = " " * mapping.value[0][0].start_mark.column
    end = _newline(text)
    at = _end_of_line(text, _end(mapping))
    before = text[:at] if text[:at].endswith(("\n", "\r")) else text[:at] + end
    return before + "".join(indent + entry + end for entry in entries) + text[at:]


def _insert_flow(text: str, mapping: yaml.MappingNode, entry: str) -> str:
    """Behind the last value: before the closing brace there may be a comma or a comment."""
    if not mapping.value:
        at = int(mapping.start_mark.index) + 1
        return f"{text[:at]}{entry}{text[at:]}"
    at = int(mapping.value[-1][1].end_mark.index)
    return f"{text[:at]}, {entry}{text[at:]}"


def _end(node: yaml.Node) -> int:
    """Where what a node says ends: a block's own end is behind the comments and empty lines that follow it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(node, yaml.MappingNode) else last)
    return int(node.end_mark.index)


def _end_of_line(text: str, index: int) -> int:
    """The beginning of the next line, or the end of the text."""
    if text[:index].endswith("\n"):
        return index
    found = text.find("\n", index)
    return len(text) if found < 0 else found + 1


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"
