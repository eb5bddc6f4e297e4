"""What the label maps of a site show: which of a job's classes, under which label values."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fedswin.config import SegmentationSettings
from fedswin.data.label_maps import BACKGROUND, LABEL_MAPS, PAIRS
from fedswin.data.volume import VolumeError
from fedswin.errors import nearest

_DIGITS = 18
"""Of a label value: more do not fit into the integers of a label map."""


@dataclass(frozen=True)
class Annotation:
    """How a label map is to be read; each case carries its own.

    Attributes:
        annotated: the names of the classes that were annotated, or the label values that were drawn; ``None`` stands
            for all classes of the job. Where a class is not annotated, background says nothing about it.
        label_map: what label values stand for where they differ from the job's: ``{label value: name of a class, or
            "background"}``, or the name of one of `LABEL_MAPS`.
        source: the datalist that says so, for messages.
        place: where in the datalist a case says for itself what was annotated; empty if its site says it for all.
    """

    annotated: tuple[str, ...] | tuple[int, ...] | None = None
    label_map: Mapping[int, str] | str = field(default_factory=dict, hash=False)
    source: Path = field(default=Path(), compare=False)
    place: str = field(default="", compare=False)

    def annotated_classes(self, settings: SegmentationSettings) -> dict[str, int]:
        """Return the job's classes that are annotated, ``{name: index}``, in the job's order.

        Where label values say it, a class counts if all of its values were drawn: of kidneys of which only one was
        drawn, the other would be taught as background.
        """
        if self.annotated is None:
            return settings.class_indices
        drawn = frozenset(self.annotated)
        if not self._says_values:
            return {name: index for name, index in settings.class_indices.items() if name in drawn}
        values = self._values_of_classes(settings)
        return {name: i for name, i in settings.class_indices.items() if values.get(i) and values[i] <= drawn}

    def annotated_indices(self, settings: SegmentationSettings) -> tuple[int, ...]:
        """Return the indices, ascending and without 0, of the job's classes that are annotated."""
        return tuple(self.annotated_classes(settings).values())

    def stray_class(self, values: Collection[int], settings: SegmentationSettings) -> str | None:
        """Return the first of the job's classes that label values stand for although it was not annotated, if any."""
        if self.annotated is None:
            return None
        table, names, drawn = self._table(settings), [BACKGROUND, *settings.classes], frozenset(self.annotated)
        shown = [(table[value], value) for value in values if table.get(value)]
        stray = [index for index, value in shown if (value if self._says_values else names[index]) not in drawn]
        return names[min(stray)] if stray else None

    def class_indices(self, settings: SegmentationSettings) -> dict[int, int]:
        """Return ``{label value: class index}``: the site's label map first, then the job's classes.

        An organ of a named label map that is no class of the job counts as the pair it belongs to (`PAIRS`), or as
        background: such a map serves jobs of one organ and of many.

        Raises:
            VolumeError: if ``annotated`` or a written-out label map names a class that the job does not have, or an
                annotated class is left without a label value.
        """
        named = [name for name in self.annotated or () if isinstance(name, str)]
        self._require_known(f"{self.place}: 'annotated'" if self.place else "'annotated'", named, settings)
        self._require_known("'label_map'", set(self._names(settings).values()) - {BACKGROUND}, settings)
        values = self._table(settings)
        self._require_reachable(settings, values)
        return values

    @property
    def _says_values(self) -> bool:
        return all(isinstance(entry, int) for entry in self.annotated or ())

    def _table(self, settings: SegmentationSettings) -> dict[int, int]:
        """Return what `class_indices` does, without a check."""
        indices = {BACKGROUND: 0} | settings.class_indices
        values = dict.fromkeys(settings.known_values, 0)
        values |= {value: index for index, own in enumerate(settings.label_values, start=1) for value in own}
        return values | {value: indices[name] for value, name in self._names(settings).items() if name in indices}

    def _values_of_classes(self, settings: SegmentationSettings) -> dict[int, set[int]]:
        """Return the label values of each class index: those that the label map gives it, or else the job's."""
        own = self._names(settings)
        found: dict[int, set[int]] = {}
        for value, index in self._table(settings).items():
            found.setdefault(index, set()).add(value)
        return {index: values & own.keys() or values for index, values in found.items()}

    def _names(self, settings: SegmentationSettings) -> Mapping[int, str]:
        if not isinstance(self.label_map, str):
            return self.label_map
        ways = {value: (name, PAIRS.get(name)) for value, name in LABEL_MAPS[self.label_map].items()}
        return {value: next((n for n in names if n in settings.classes), BACKGROUND) for value, names in ways.items()}

    def _require_known(self, key: str, names: Collection[str], settings: SegmentationSettings) -> None:
        known = settings.classes
        for name in sorted(names):
            if name not in known:
                problem = f"{key} names '{name}', which is not a class of the job{nearest(name, known)}"
                raise VolumeError(self.source, problem, f"Its classes are {', '.join(known)}.")

    def _require_reachable(self, settings: SegmentationSettings, values: Mapping[int, int]) -> None:
        for index in self.annotated_indices(settings):
            if index not in values.values():
                name = list(settings.classes)[index - 1]
                fix = "Give it one in 'label_map', or list in 'annotated' the classes that were annotated, without it."
                raise VolumeError(self.source, f"no label value stands for the class '{name}'", fix)


def read_annotation(path: Path, content: Mapping[str, Any]) -> Annotation:
    """Return what ``annotated`` and ``label_map`` of the datalist at ``path`` say; both may be absent.

    Raises:
        VolumeError: if one of them is malformed. Whether a job has such classes is seen when the job is known.
    """
    annotated = _read_annotated(path, "", content["annotated"]) if "annotated" in content else None
    return Annotation(annotated, _read_label_map(path, content.get("label_map", {})), path)


def own_annotation(path: Path, place: str, entry: Mapping[str, Any], of_site: Annotation) -> Annotation:
    """Return how the label map of a case is to be read: as the site says, but for an ``annotated`` of its own.

    Args:
        path: the datalist.
        place: where in it the case is, such as ``training[3]``.
        entry: the case's entry.
        of_site: as `read_annotation` returns it.

    Raises:
        VolumeError: if ``annotated`` is malformed. It may be empty: then nothing was annotated.
    """
    if "annotated" not in entry:
        return of_site
    return replace(of_site, annotated=_read_annotated(path, place, entry["annotated"]), place=place)


def _read_annotated(path: Path, place: str, entries: Any) -> tuple[str, ...] | tuple[int, ...]:
    where = f"{place}: 'annotated'" if place else "'annotated'"
    kinds = {type(entry) for entry in entries} if isinstance(entries, list) else set()
    are_values = kinds == {int} and min(entries) > 0
    if not (kinds == {str} or are_values or (entries == [] and place)):
        fix = (
            "It must be a list of the names of classes, or of label values above 0. Only a case may have an empty one: "
            "nothing was annotated in it. Where there is no list, all classes count as annotated."
        )
        raise VolumeError(path, f"{where} is {entries!r}", fix)
    twice = next((entry for entry in entries if entries.count(entry) > 1), None)
    if twice is not None:
        raise VolumeError(path, f"{where} names {twice!r} twice", "Name it once.")
    return tuple(entries)


def _read_label_map(path: Path, entries: Any) -> Mapping[int, str] | str:
    if isinstance(entries, str):
        if entries not in LABEL_MAPS:
            problem = f"'label_map' is '{entries}', which FedSwin does not know{nearest(entries, LABEL_MAPS)}"
            raise VolumeError(path, problem, f"Known are {', '.join(LABEL_MAPS)}; or write the label map out.")
        return entries
    if not isinstance(entries, dict):
        fix = 'It must be an object {"label value": "class"}, or the name of a label map that FedSwin knows.'
        raise VolumeError(path, f"'label_map' is {entries!r}", fix)
    return {_read_value(path, value): _read_name(path, value, name) for value, name in entries.items()}


def _read_value(path: Path, value: str) -> int:
    if not (value.isascii() and value.isdecimal() and (value == "0" or value[0] != "0") and len(value) <= _DIGITS):
        raise VolumeError(path, f"'label_map' has the key '{value}'", 'A key is a label value, such as "7".')
    return int(value)


def _read_name(path: Path, value: str, name: Any) -> str:
    name = BACKGROUND if name == 0 and not isinstance(name, bool) else name
    if not isinstance(name, str):
        fix = f'A label value stands for the name of a class, or for "{BACKGROUND}" or 0.'
        raise VolumeError(path, f"'label_map' maps {value} to {name!r}", fix)
    if value == "0" and name != BACKGROUND:
        fix = "0 is always background: give the class another value in the label map's files."
        raise VolumeError(path, f"'label_map' maps 0 to '{name}'", fix)
    return name
