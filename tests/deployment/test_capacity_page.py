"""The capacity page shows what its script says."""

import importlib.util

from tests.deployment.tools import ROOT


def test_the_tables_are_those_that_the_script_prints() -> None:
    spec = importlib.util.spec_from_file_location("docs_capacity", ROOT / "docs" / "capacity.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    page = (ROOT / "docs" / "capacity.md").read_text(encoding="utf-8")
    shown = page.split("from here -->")[1].split("<!-- to here -->")[0]

    assert shown.strip() == "\n".join(script.page(script.Measured())), "put in what `python docs/capacity.py` prints"
