"""Every example for authors of DAGs in the README can be copied into the DAGs folder as it is."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
from airflow.sdk import DAG

README = Path(__file__).parents[3] / "README.md"
CHAPTER = README.read_text().partition("\n## For DAG authors\n")[2].partition("\n## ")[0]
leave = DAG.__exit__
EXAMPLES = re.findall(r"^```python\n(.*?)^```", CHAPTER, re.DOTALL | re.MULTILINE)


def test_there_are_examples() -> None:
    """One for each way that events and DAGs meet."""
    assert len(EXAMPLES) == 5


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_example_is_a_dag(example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run as a file, each makes one DAG that has tasks."""
    file = tmp_path / "example.py"
    file.write_text(example)
    made: list[DAG] = []
    monkeypatch.setattr(DAG, "__exit__", lambda self, *_: made.append(self) or leave(self, *_))
    runpy.run_path(str(file))
    (dag,) = made
    assert dag.task_ids
    dag.validate()
