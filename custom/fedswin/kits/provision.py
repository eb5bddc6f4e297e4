"""From a consortium's file to the startup kits of its server, sites and people, and from there to more of them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from fnmatch import fnmatchcase
from pathlib import Path

from fedswin.errors import FedSwinError, nearest
from fedswin.kits.authority import Authority, create_authority, load_authority
from fedswin.kits.consortium import AUTHORITY, CONSORTIUM, Consortium, load_consortium
from fedswin.kits.distributed import PARTICIPANT, write_participants, write_profile
from fedswin.kits.growth import require_growth
from fedswin.kits.make import make_kits
from fedswin.kits.manifest import MANIFEST, SIGNATURE, own_certificate
from fedswin.output import refuse_output, staged

_PRICE = ": the kits in it then stop working, since they were signed by the authority that is replaced"
_RECORD = Path(AUTHORITY, CONSORTIUM.name)
"""The consortium's file as it was when the kits were made, below the folder of the kits."""
_RENEWED = ("startup", MANIFEST, SIGNATURE)
"""What a renewed kit gets anew. The rest is its owner's: policies, studies, logs."""
_PARTIAL, _COMPLETE = ".partial", ".complete"
"""Below the folder of the kits: what is being made, and what is made and about to be moved to its place."""


@dataclass(frozen=True)
class Provisioned:
    """What `provision` has done.

    Attributes:
        made: the kits that are new, or have a new key, and when the certificate of each ends.
        requested: for each site that makes its own key, the file that it does so with.
        kept: how many kits are as they were.
        authority: the fingerprint of the authority.
        authority_ends: when the authority ends, and with it all that it signed.
        cut_short: whether certificates end earlier than the consortium asks for, since the authority does.
    """

    made: dict[Path, datetime]
    requested: list[Path]
    kept: int
    authority: str
    authority_ends: datetime
    cut_short: bool


def provision(consortium: Path, out: Path, *, overwrite: bool = False, renew: Sequence[str] = ()) -> Provisioned:
    """Make the startup kits of a consortium with NVFlare's provisioner.

    ``out`` then holds ``server``, a folder for each site and person, and ``authority``: the key that
    signed all certificates, which must stay private. If it holds kits already, those that are not there yet
    are added, and the others stay as they are. Whatever is killed: ``out`` is as it was, or the next call
    completes it.

    Args:
        consortium: the consortium's file.
        out: the folder of the kits.
        overwrite: replace earlier kits at ``out``. Their authority goes too, so they work no longer.
        renew: patterns: names of earlier kits that get a new key and certificate.

    Raises:
        FedSwinError: if the file is wrong, the earlier kits do not fit it, ``out`` is something else, or NVFlare
            cannot make the kits.
    """
    plan = load_consortium(consortium)
    if renew and (overwrite or not _holds_kits(out)):
        raise FedSwinError(f"--renew is for kits that stay, and {out} has none. Leave it out.")
    if _holds_kits(out) and not overwrite:
        names = _grow(plan, consortium, out, renew)
    else:
        refuse_output(out, overwrite=overwrite, kind="a folder of kits", is_kind=_holds_kits, price=_PRICE)
        names = list(plan.kits)
        with staged(out) as kits:
            kits.chmod(0o700)
            authority = create_authority(kits / AUTHORITY, plan.study)
            make_kits(plan, names, authority, kits)
            _tell(plan, authority, consortium, kits)
    return _summary(plan, names, out)


def _holds_kits(out: Path) -> bool:
    return (out / AUTHORITY).is_dir()


def _grow(plan: Consortium, consortium: Path, out: Path, renew: Sequence[str]) -> list[str]:
    """Add the kits that are not in ``out`` yet and renew others, and return the names of both."""
    _complete(out)
    old = _recorded(out)
    renewed = _matched(renew, [name for name in plan.kits if name in old.kits])
    require_growth(old, plan, renewed)
    added = [name for name in plan.kits if name not in old.kits]
    if taken := [name for name in added if os.path.lexists(out / name)]:
        raise FedSwinError(f"{out / taken[0]} is in the way of a new kit. Move it to another folder.")
    with _partial(out) as kits:
        authority = load_authority(out / AUTHORITY)
        make_kits(plan, [*added, *renewed], authority, kits)
        for name in renewed:
            if (out / name).is_dir():
                _take_out_what_stays(kits / name)
        (kits / AUTHORITY).mkdir()
        _tell(plan, authority, consortium, kits, out)
    _complete(out)
    return [*added, *renewed]


def _recorded(out: Path) -> Consortium:
    if not (out / _RECORD).is_file():
        raise FedSwinError(
            f"{out} holds kits of an older FedSwin, which kept no record of them. Choose another --out, or add"
            f" --overwrite to replace it{_PRICE}."
        )
    return load_consortium(out / _RECORD)


def _matched(patterns: Sequence[str], names: list[str]) -> list[str]:
    def is_matched(name: str, chosen: Sequence[str]) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in chosen)

    for pattern in patterns:
        if not any(is_matched(name, [pattern]) for name in names):
            raise FedSwinError(f"--renew {pattern}: no kit that was made here has this name{nearest(pattern, names)}.")
    return [name for name in names if is_matched(name, patterns)]


def _take_out_what_stays(kit: Path) -> None:
    for path in kit.iterdir():
        if path.is_dir() and path.name not in _RENEWED:
            shutil.rmtree(path)
        elif path.name not in _RENEWED:
            path.unlink()


def _tell(plan: Consortium, authority: Authority, consortium: Path, kits: Path, out: Path | None = None) -> None:
    """Write into ``kits`` what changes with the consortium: for the authority, own keys, people in either folder."""
    shutil.copyfile(consortium, kits / _RECORD)
    write_profile(plan, kits / AUTHORITY)
    write_participants(plan, kits, authority.fingerprint)
    for person in plan.people:
        if any(folder and (folder / person.email).is_dir() for folder in (kits, out)):
            (kits / person.email / CONSORTIUM).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(consortium, kits / person.email / CONSORTIUM)


@contextmanager
def _partial(out: Path) -> Iterator[Path]:
    """Give a folder for what is being made; it is ready to be moved to its place when the block ends well."""
    room = out / _PARTIAL
    try:
        if room.is_dir():  # of a call that was killed
            shutil.rmtree(room)
        room.mkdir(mode=0o700)
    except OSError as error:
        raise FedSwinError(
            f"{out}: cannot write there ({error.strerror}). Run it as the owner of the folder."
        ) from None
    try:
        yield room
        room.rename(out / _COMPLETE)
    except BaseException:
        shutil.rmtree(room)
        raise


def _complete(out: Path) -> None:
    """Move to its place what is made, or what is left of it if the process that did so was killed."""
    if (out / _COMPLETE).is_dir():
        _move(out / _COMPLETE, out)


def _move(made: Path, place: Path, replaced: Collection[str] = ()) -> None:
    """Move what is in ``made`` to ``place``, into the folders that are there but for those named in ``replaced``."""
    for path in list(made.iterdir()):
        target = place / path.name
        if target.is_dir() and path.name not in replaced:
            _move(path, target, _RENEWED)
        else:
            if target.is_dir():
                shutil.rmtree(target)
            path.replace(target)
    made.rmdir()


def _summary(plan: Consortium, names: list[str], out: Path) -> Provisioned:
    authority = load_authority(out / AUTHORITY)
    return Provisioned(
        made={out / name: own_certificate(out / name).not_valid_after_utc for name in names},
        requested=[out / site.name / PARTICIPANT for site in plan.sites if site.own_key],
        kept=len(plan.kits) - len(names),
        authority=authority.fingerprint,
        authority_ends=authority.ends,
        cut_short=authority.ends < datetime.now(timezone.utc) + timedelta(days=plan.certificate_days),
    )
