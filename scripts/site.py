"""What `make docs` does to the pages.

A link to a file outside of docs/ becomes its name, one to the README the start: the pages link to the checkout's files,
as people read them there, and MkDocs knows the files in docs/ alone. Words of code in tables stay whole.
"""

import re
from typing import Any


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Rewrite `[text](../file)`."""
    markdown = re.sub(r"\]\(\.\./README\.md[^)]*\)", "](index.md)", markdown)
    return re.sub(r"\[([^\]]+)\]\(\.\./[^)]+\)", r"\1", markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Let no browser break a word of code in a table at its hyphens, as in `--fail-on-regression`."""
    return re.sub(r"<td.*?</td>", lambda cell: re.sub(r"<code>(.*?)</code>", _whole, cell[0]), html, flags=re.DOTALL)


def _whole(code: re.Match[str]) -> str:
    words = re.sub(r"[^\s<>]*-[^\s<>]*", r"<span>\g<0></span>", code[1])
    return f"<code>{words}</code>"
