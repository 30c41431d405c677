"""The verbs that end a problem, as the runbook has them under the heading of its code."""

import re
from functools import cache
from typing import Final

from payscore_worker.domain.decisions import VERBS, verbs_for
from tests.pages import ROOT

RUNBOOK: Final = ROOT / "deploy" / "runbook.md"

OF_WECHATPAY: Final = "Codes of WeChat Pay"
"""The heading of the problems that bear WeChat Pay's own code, or the name of a refusal."""


def is_documented(code: str) -> bool:
    """Tell whether an operator who looks the code up finds the verb that ends it first."""
    likeliest = verbs_for(code)[0]
    return likeliest.value in _verbs_under(code if code in VERBS else OF_WECHATPAY)


@cache
def _verbs_under(heading: str) -> frozenset[str]:
    """Read which commands stand below a heading of the runbook."""
    _, found, below = RUNBOOK.read_text(encoding="utf-8").partition(f"\n#### {heading}\n")
    text, _, _ = below.partition("\n#") if found else ("", "", "")
    return frozenset(re.findall(r"^payscore-worker trip ([\w-]+)", text, re.MULTILINE))
