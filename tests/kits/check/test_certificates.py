"""Certificates that are not the authority's, have no key, have ended, will soon, or have not begun."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from fedswin.errors import FedSwinError
from fedswin.kits.check.certificates import check_clock, check_dates, check_issuer
from fedswin.kits.check.context import Context
from fedswin.kits.check.result import Result
from fedswin.kits.kit import Kit
from kits.check.authority import YEAR, Authority, write_kit

DAY = timedelta(days=1)


def states(check: Callable[[Context], Iterator[Result]], kit: Kit) -> list[str]:
    return [result.state for result in check(Context(kit))]


def test_a_certificate_of_the_authority_with_its_key_is_well(tmp_path: Path) -> None:
    authority = Authority()
    kit = write_kit(tmp_path / "kit", authority, authority.issue("hospital_a"))
    for check in (check_issuer, check_dates, check_clock):
        assert set(states(check, kit)) == {"ok"}
    assert (kit.name, kit.organization) == ("hospital_a", "somebody")


def test_a_certificate_of_another_authority_of_the_same_name(tmp_path: Path) -> None:
    kit = write_kit(tmp_path / "kit", Authority(), Authority().issue("hospital_a"))
    (result,) = check_issuer(Context(kit))
    assert (result.state, "was not issued by" in result.found) == ("error", True)


@pytest.mark.parametrize("other", [True, False])
def test_a_key_that_is_another_or_none(tmp_path: Path, other: bool) -> None:
    authority = Authority()
    kit = write_kit(tmp_path / "kit", authority, authority.issue("hospital_a"))
    kit.key.write_bytes(authority.issue("hospital_a").key if other else b"no key")
    (result,) = check_issuer(Context(kit))
    assert (result.state, "is not the key of" in result.found) == ("error", True)


@pytest.mark.parametrize(
    ("end", "state"), [(-DAY, "error"), (10 * DAY, "warning"), (29.9 * DAY, "warning"), (30.1 * DAY, "ok")]
)
def test_the_end_of_a_certificate(tmp_path: Path, end: timedelta, state: str) -> None:
    authority = Authority()
    kit = write_kit(tmp_path / "kit", authority, authority.issue("hospital_a", end=end))
    assert states(check_dates, kit) == [state, "ok"]


def test_the_end_of_the_authority(tmp_path: Path) -> None:
    authority = Authority(end=DAY)
    kit = write_kit(tmp_path / "kit", authority, authority.issue("hospital_a"))
    own, root = check_dates(Context(kit))
    assert (own.state, root.state, root.name) == ("ok", "warning", "authority's end")
    assert "in 0 days" in root.found


def test_a_clock_before_the_begin_of_a_certificate_is_wrong(tmp_path: Path) -> None:
    authority = Authority()
    kit = write_kit(tmp_path / "kit", authority, authority.issue("hospital_a", begin=DAY, end=YEAR))
    assert states(check_clock, kit) == ["error"]


def test_a_file_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    authority = Authority()
    kit = write_kit(tmp_path / "kit", authority, authority.issue("hospital_a"))
    kit.root.write_bytes(b"nothing")
    with pytest.raises(FedSwinError, match="rootCA.pem is no certificate"):
        list(check_issuer(Context(kit)))
