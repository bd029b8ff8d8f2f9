"""The README and tutorial 5 quote the source: what they show of the loop over layers is what runs."""

import importlib
import operator
import re
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("page", ["README.md", "tutorials/05_chain_rule.md"])
def test_the_way_back_is_quoted_as_it_is(page):
    source = (ROOT / "tsslbp_ref" / "model" / "backpropagation.py").read_text()
    loop = source[source.index("    for record in reversed(records):") : source.index("    return gradients, flows")]
    assert f"```python\n{textwrap.dedent(loop)}```" in (ROOT / page).read_text()


def test_every_module_of_the_method_is_in_the_plan_of_the_house():
    plan = (ROOT / "README.md").read_text().partition("## The plan of the house")[2].partition("\n## ")[0]
    for path in (ROOT / "tsslbp_ref" / "model").glob("[a-z]*.py"):
        assert path.name in plan
    for folder in (ROOT / "tsslbp_ref").iterdir():
        if (folder / "__init__.py").exists():
            assert f"  {folder.name}/" in plan


def test_the_plan_of_the_house_leads_to_what_it_names():
    named = re.findall(r"`([\w/]+)\.py`: `([\w.]+)`", (ROOT / "README.md").read_text())
    assert len(named) == 9
    for path, name in named:
        assert callable(operator.attrgetter(name)(importlib.import_module(f"tsslbp_ref.{path.replace('/', '.')}")))
