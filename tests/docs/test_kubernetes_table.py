"""The table of docs/reference/kubernetes.md: what becomes of each field, as the code has it.

After a change, `RECONCILER_WRITE_TABLE=1 pytest tests/docs/test_kubernetes_table.py` writes the table again.
"""

import os
from collections.abc import Iterator

from reconciler.cluster.fields import FIELDS
from tests.support.documents import DOCS

DOCUMENT = DOCS / "reference" / "kubernetes.md"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"


def rows() -> Iterator[str]:
    yield "| field | fate | in a cluster |"
    yield "|---|---|---|"
    for field, verdict in FIELDS.items():
        yield f"| `{field.replace('.*.', '.NAME.')}` | {verdict.fate} | {verdict.words} |"


def test_the_table_says_what_the_code_does() -> None:
    written = DOCUMENT.read_text(encoding="utf-8")
    before, rest = written.split(BEGIN)
    after = rest.split(END)[1]
    expected = f"{before}{BEGIN}\n" + "\n".join(rows()) + f"\n{END}{after}"
    if os.environ.get("RECONCILER_WRITE_TABLE"):
        DOCUMENT.write_text(expected, encoding="utf-8")
    assert expected.splitlines() == written.splitlines()
