"""Make text encodable: a file's name may hold bytes that are no UTF-8, and Python keeps those as lone surrogates.

No file, socket, database or JSON takes a surrogate: a text that is stored, sent or shown passes here first.
"""


def encodable(text: str) -> str:
    r"""Return a text that UTF-8 can encode: what it cannot becomes an escape such as `\udcff`."""
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()
