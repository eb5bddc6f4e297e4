"""YAML files of settings: typed sections, closed to unknown keys, and errors that say where and what is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedswin.errors import FedSwinError, nearest

Positive = Annotated[int, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]

IS_RECORD = "is_record"
"""In the context of a validation: whether the settings are those of a run that there was."""


class Section(BaseModel):
    """A group of settings: immutable, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


SectionT = TypeVar("SectionT", bound=Section)


def read_mapping(path: Path, what: str, keys: str) -> dict[str, Any]:
    """Read a YAML file whose top level is a mapping.

    Args:
        path: the file.
        what: what the file is, for messages: "job file".
        keys: what it holds at least, for messages: "'name' and 'task'".

    Raises:
        FedSwinError: if the file cannot be read, or is something else.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise FedSwinError(f"{path}: cannot read the {what}: {error.strerror}.") from None
    except yaml.YAMLError as error:
        raise FedSwinError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(content, dict):
        raise FedSwinError(f"{path}: a {what} is a mapping with at least {keys}.")
    return content


def parse_section(kind: type[SectionT], content: dict[str, Any], where: str, *, is_record: bool = False) -> SectionT:
    """Check ``content`` and return it as a ``kind``; ``where`` names its origin in error messages.

    Args:
        kind: the section.
        content: what was read.
        where: its origin.
        is_record: whether it says what was run; then settings that FedSwin no longer starts a run with are taken.

    Raises:
        FedSwinError: if a key or value is wrong.
    """
    try:
        return kind.model_validate(content, context={IS_RECORD: is_record})
    except ValidationError as error:
        lines = [_explain(kind, dict(problem)) for problem in error.errors()]
        raise FedSwinError(f"{where}: " + "; ".join(lines)) from None


def _explain(kind: type[Section], problem: dict[str, Any]) -> str:
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        *sections, key = problem["loc"]
        return f"unknown key '{where}'{nearest(str(key), _section_at(kind, sections).model_fields)}"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message


def _section_at(section: type[Section], location: Sequence[str | int]) -> type[Section]:
    for part in location:
        if part in section.model_fields:  # or it is a place in a list of sections, or a name in a mapping of them
            section = next(_sections_in(section.model_fields[str(part)].annotation), section)
    return section


def _sections_in(annotation: Any) -> Iterator[type[Section]]:
    if parts := get_args(annotation):
        for part in parts:
            yield from _sections_in(part)
    elif isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
