"""The page of figures on which settings learn is what its rows say."""

from __future__ import annotations

import importlib.util
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / ".ci" / "learning_study.py"


def test_the_page_that_ships_is_what_its_rows_say() -> None:
    spec = importlib.util.spec_from_file_location("learning_study", SCRIPT)
    assert spec
    assert spec.loader
    study = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(study)
    assert study.read()
    assert study.PAGE.read_text() == study.page()
