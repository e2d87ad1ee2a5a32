"""What `make docs` does to the pages: a link to a file outside of docs/ becomes its name, one to the README the start.

The pages link to the checkout's files, as people read them there. MkDocs knows the files in docs/ alone.
"""

import re
from typing import Any


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Rewrite `[text](../file)`."""
    markdown = re.sub(r"\]\(\.\./README\.md[^)]*\)", "](index.md)", markdown)
    return re.sub(r"\[([^\]]+)\]\(\.\./[^)]+\)", r"\1", markdown)
