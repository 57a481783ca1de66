"""What a terminal shows after it was sent some text: as much of one as our progress and the tests' programs use."""

from __future__ import annotations

import re

_SEQUENCE = re.compile(r"\x1b(?:\[([?0-9;]*)([A-Za-z])|([D78]))|([\r\n\b\a])|([^\x1b\r\n\b\a]+)")


class Screen:
    """``width`` by ``height`` cells; ``lines`` are all that it shows, or has shown before it scrolled."""

    def __init__(self, width: int = 100, height: int = 30) -> None:
        self.width, self.height = width, height
        self.above: list[str] = []
        self.rows = [[" "] * width for _ in range(height)]
        self.row = self.column = 0
        self._saved = (0, 0)

    @property
    def lines(self) -> list[str]:
        """What there is to read, to the last line that is not empty."""
        shown = [*self.above, *("".join(row).rstrip() for row in self.rows)]
        while shown and not shown[-1]:
            shown.pop()
        return shown

    @property
    def cursor(self) -> tuple[int, int]:
        """Line, counted as in ``lines``, and column."""
        return len(self.above) + self.row, self.column

    def feed(self, text: str) -> Screen:
        """Show ``text``; an escape sequence that it does not know is an error."""
        at = 0
        while at < len(text):
            found = _SEQUENCE.match(text, at)
            assert found, f"unknown: {text[at : at + 20]!r}"
            parameters, final, short, control, plain = found.groups()
            if plain:
                self._print(plain)
            elif control:
                self._control(control)
            elif short:
                self._short(short)
            else:
                self._sequence(parameters, final)
            at = found.end()
        return self

    def _print(self, text: str) -> None:
        for char in text:
            if self.column == self.width:
                self.column = 0
                self._down()
            self.rows[self.row][self.column] = char
            self.column += 1

    def _control(self, char: str) -> None:
        if char == "\r":
            self.column = 0
        elif char == "\n":
            self._down()
        elif char == "\b":
            self.column = max(0, self.column - 1)

    def _down(self) -> None:
        if self.row < self.height - 1:
            self.row += 1
            return
        self.above.append("".join(self.rows.pop(0)).rstrip())
        self.rows.append([" "] * self.width)

    def _short(self, char: str) -> None:
        if char == "D":
            self._down()
        elif char == "7":
            self._saved = (self.row, self.column)
        else:
            self.row, self.column = self._saved

    def _sequence(self, parameters: str, final: str) -> None:
        if final == "A":
            self.row = max(0, self.row - int(parameters or 1))
        elif final in "JK":
            assert parameters in ("", "0")
            self.rows[self.row][self.column :] = [" "] * (self.width - self.column)
            if final == "J":
                for row in self.rows[self.row + 1 :]:
                    row[:] = [" "] * self.width
        else:
            assert final in "mhl", f"unknown: {parameters}{final}"
