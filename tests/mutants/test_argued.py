"""Who survives, and whether somebody has said why."""

from pathlib import Path

import pytest

from tests.mutants.__main__ import configured_modules
from tests.mutants.argued import ARGUED, Argument, read_arguments, unused
from tests.mutants.pages import WORDS, scores
from tests.mutants.verdicts import Mutant, Survivor, Verdict, module_of
from tests.pages import ROOT

HOSTS = "payscore_worker/wechatpay/hosts.py"
PREFER = Mutant(HOSTS, "payscore_worker.wechatpay.hosts.xǁHostsǁ_prefer__mutmut_3", Verdict.SURVIVED)
KILLED = Mutant(HOSTS, "payscore_worker.wechatpay.hosts.x__host__mutmut_1", Verdict.KILLED)
SURVIVOR = Survivor(PREFER, f"--- {HOSTS}\n+++ {HOSTS}\n@@ -1,2 +1,2 @@\n def f():\n-    a = 1\n+    a = 2\n")
ARGUMENT = Argument("payscore_worker.wechatpay.hosts.Hosts._prefer", "a = 1 -> a = 2", "nobody can see it")


def test_a_mutant_is_known_by_its_function_and_its_lines() -> None:
    assert PREFER.function == "payscore_worker.wechatpay.hosts.Hosts._prefer"
    assert KILLED.function == "payscore_worker.wechatpay.hosts._host"
    assert SURVIVOR.change == "a = 1 -> a = 2"
    assert ARGUMENT.speaks_of(SURVIVOR)


@pytest.mark.parametrize("change", ["a = 1 -> a = 3", "a = 1 ->", ""])
def test_an_argument_speaks_of_no_other_change(change: str) -> None:
    assert not Argument(ARGUMENT.function, change, "").speaks_of(SURVIVOR)


def test_an_argument_whose_survivor_is_gone_must_go_too() -> None:
    assert unused([ARGUMENT], [], [HOSTS]) == [ARGUMENT]
    assert unused([ARGUMENT], [SURVIVOR], [HOSTS]) == []
    assert unused([ARGUMENT], [], ["payscore_worker/domain/trip.py"]) == []  # not looked at


@pytest.mark.parametrize("entry", ['function = "f"', 'function = "f"\nchange = "c"\nbecause = ""'])
def test_an_argument_that_argues_nothing_is_refused(tmp_path: Path, entry: str) -> None:
    file = tmp_path / "argued.toml"
    file.write_text(f"[[argued]]\n{entry}\n", encoding="utf-8")

    with pytest.raises(ValueError, match="function, change and because"):
        read_arguments(file)


def test_the_list_of_arguments_can_be_read_and_names_modules_that_are_mutated() -> None:
    modules = {module_of(path) for path in configured_modules(ROOT)}

    for argument in read_arguments(ARGUED):
        assert any(argument.function.startswith(f"{module}.") for module in modules), argument.function


def test_the_table_has_a_row_for_each_module_and_one_for_all() -> None:
    table = scores([PREFER, KILLED], [SURVIVOR], [], WORDS["docs/mutants.md"])

    assert table.splitlines()[2:] == [
        "| `wechatpay/hosts.py` | 2 | 1 | 0 | 1 | 0 | 50.0 % |",
        "| **all** | 2 | 1 | 0 | 1 | 0 | 50.0 % |",
    ]
