"""Executes the cells of a notebook in a kernel of its own, in the given order, and prints what came of each as JSON.

In a process of its own, so that what Jupyter's libraries warn of is no business of the tests.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

PATIENCE = 120
"""Seconds for one cell."""


class Client(NotebookClient):
    """Keeps what was displayed, also what was updated later."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.displayed: list[tuple[str, str]] = []

    def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
        """See NotebookClient."""
        if msg["msg_type"] in ("display_data", "update_display_data"):
            self.displayed.append((msg["msg_type"], msg["content"]["data"]["text/plain"]))
        return super().process_message(msg, cell, cell_index)


def main() -> None:
    """Read ``{"cells": [...], "order": [...]}``, write a list of outputs and displays."""
    told = json.load(sys.stdin)
    notebook = new_notebook(cells=[new_code_cell(source) for source in told["cells"]])
    client = Client(notebook, timeout=PATIENCE, kernel_name="under-test", allow_errors=True)
    done = []
    with client.setup_kernel():
        for index in told["order"]:
            client.displayed = []
            client.execute_cell(notebook.cells[index], index)
            done.append({"outputs": notebook.cells[index].outputs, "displayed": client.displayed})
            notebook.cells[index].outputs = []
    json.dump(done, sys.stdout)


if __name__ == "__main__":
    main()
