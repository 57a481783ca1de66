"""Live progress on a real terminal: it is there, and nothing that the program does there is any different."""

from __future__ import annotations

import itertools
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.screens import Screen

if sys.platform != "win32":
    from tests.run.terminals import CTRL_C, Terminal

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX terminals")

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.sdk.conftest import Lab

DRAWN = "\x1b8"
"""The end of a drawing."""
BEGIN = """
import itertools, logging, os, subprocess, sys, time
import otel_pipeline as op
op.setup("etl", heartbeat_interval=0, summary="never")
wait_for = lambda name: [time.sleep(0.01) for _ in iter(lambda: os.path.exists(name), True)]
"""
WIDTH, HEIGHT = 80, 24


class Program:
    """A program on a terminal, that waits where it is told to for the test."""

    def __init__(self, lab: Lab, terminal: Terminal) -> None:
        self.lab = lab
        self.terminal = terminal
        self._goes = itertools.count(1)

    def drawn(self) -> Screen:
        """What the terminal shows after the next drawing."""
        self.terminal.expect(DRAWN)
        return Screen(WIDTH, HEIGHT).feed(self.terminal.text[: self.terminal.read_to])

    def go(self) -> None:
        """Let it go on behind its next ``wait_for``."""
        (self.lab.folder / f"go{next(self._goes)}").touch()

    def end(self, status: int = 0) -> Screen:
        """What the terminal shows after its end."""
        assert self.terminal.end() == status, self.terminal.text
        return Screen(WIDTH, HEIGHT).feed(self.terminal.text)


class Desk:
    """Where programs are started on terminals."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.open: list[Terminal] = []

    def start(self, text: str, *before: str, term: str = "xterm", width: int = WIDTH, **env: str) -> Program:
        """A program that begins with ``BEGIN``, below the command ``before``."""
        path = self.lab.write(BEGIN.lstrip() + text)
        environ = {name: value for name, value in self.lab.environ(sends=False, **env).items() if name != "COLUMNS"}
        environ.setdefault("PYTHON_COLORS", "0")
        command = [*before, sys.executable, str(path)]
        self.open.append(Terminal(command, environ, str(self.lab.folder), term=term, width=width, height=HEIGHT))
        return Program(self.lab, self.open[-1])


@pytest.fixture
def desk(lab: Lab) -> Iterator[Desk]:
    """A desk whose terminals are closed at the end."""
    made = Desk(lab)
    yield made
    for terminal in made.open:
        terminal.close()


def test_it_appears_and_leaves_nothing(desk: Desk) -> None:
    """The run, its open stage with its counts and how many ended are drawn below the cursor, and erased at the end."""
    program = desk.start("""
with op.pipeline("orders_etl"):
    with op.stage("first"): pass
    with op.stage("load") as stage:
        stage.add(records_in=1234, failed=5)
        wait_for("go1")
print("end")
print(vars(sys.stdout.buffer), vars(sys.stderr.buffer))
""")
    screen = program.drawn()
    assert screen.cursor == (0, 0)
    title, row = screen.lines[1:]
    assert re.fullmatch(r"orders_etl · \d\.\d\d s · 1 stage ended", title)
    assert re.fullmatch(r"  load  [\d.]+ m?s  1,234 in  5 failed  .*/s", row)
    program.go()
    screen = program.end()
    # The streams are as they were.
    assert screen.lines == ["end", "{} {}"]
    assert screen.cursor == (2, 0)


def test_what_the_program_writes_comes_out_whole(desk: Desk) -> None:
    """Each time below what is drawn: print, logging, bytes, half lines, threads, a child, one that a shell starts."""
    program = desk.start("""
import threading
writes = [
    lambda: print("printed\\nin two lines"),
    lambda: logging.warning("logged"),
    lambda: sys.stdout.buffer.write(b"bytes\\n") and sys.stdout.flush(),
    lambda: print("to stderr", file=sys.stderr),
    lambda: threading.Thread(target=print, args=["from a thread"]).start(),
    lambda: subprocess.run(["sh", "-c", "for i in 1 2 3 4 5; do echo child $i; done"]),
    lambda: os.system("echo a; echo b; echo c"),
    lambda: print("x" * 200),
    lambda: [print(number) for number in range(40)],
]
with op.pipeline("orders_etl"), op.stage("load") as stage, op.stage("inner"):
    for number, write in enumerate(writes, 1):
        wait_for(f"go{number}")
        write()
    wait_for(f"go{number + 1}")
    print("half", end="", flush=True)
    print(" and half")
""")
    for _ in range(10):
        assert "orders_etl" in "".join(program.drawn().lines[-3:])
        program.go()
    assert program.end().lines == [
        "printed", "in two lines", "WARNING:root:logged", "bytes", "to stderr", "from a thread",
        *(f"child {number}" for number in range(1, 6)), "a", "b", "c", "x" * 80, "x" * 80, "x" * 40,
        *map(str, range(40)), "half and half",
    ]  # fmt: skip


def test_a_writer_that_is_not_seen_loses_nothing(desk: Desk) -> None:
    """A library in C, or a process of multiprocessing, writes over what is drawn; what it wrote stays."""
    program = desk.start("""
with op.pipeline("orders_etl"), op.stage("load"):
    wait_for("go1")
    os.write(1, b"one\\ntwo\\nthree\\n")
    wait_for("go2")
""")
    program.drawn()
    program.go()
    program.terminal.expect("three")
    screen = program.drawn()
    assert [re.match("one|two|three", line) is not None for line in screen.lines[:3]] == [True] * 3
    assert screen.cursor == (3, 0)
    program.go()
    assert len(program.end().lines) == 3


def test_input_and_the_end_of_a_line_that_was_begun(desk: Desk) -> None:
    """Nothing is drawn while the program asks, what is typed arrives, and it is drawn again after the answer."""
    program = desk.start("""
with op.pipeline("orders_etl"), op.stage("ask"):
    wait_for("go1")
    print("hello", input("your name? "))
    wait_for("go2")
    print("and yours? ", end="", flush=True)
    print(repr(sys.stdin.readline()))
    wait_for("go3")
    try: input("last? ")
    except EOFError: print("none")
    wait_for("go4")
""")
    for answer in ("bob", "eve", "\x04"):
        program.drawn()
        program.go()
        program.terminal.expect("? ")
        assert not program.terminal.appears(DRAWN, patience=1.2)
        program.terminal.type(answer if answer == "\x04" else f"{answer}\n")
    program.drawn()
    program.go()
    lines = program.end().lines
    assert lines[:4] == ["your name? bob", "hello bob", "and yours? eve", "'eve\\n'"]
    assert "none" in lines[4] + lines[-1]
    assert "orders_etl" not in "".join(lines)


def test_a_debugger(desk: Desk) -> None:
    """pdb has the terminal for itself as long as it asks."""
    program = desk.start("""
value = 20
with op.pipeline("orders_etl"), op.stage("load"):
    wait_for("go1")
    breakpoint()
    wait_for("go2")
print("end", value)
""")
    program.drawn()
    program.go()
    program.terminal.expect("(Pdb) ")
    assert not program.terminal.appears(DRAWN, patience=1.2)
    program.terminal.type("p value * 2 + 2\n")
    program.terminal.expect("42")
    program.terminal.expect("(Pdb) ")
    program.terminal.type("c\n")
    program.drawn()
    program.go()
    lines = program.end().lines
    assert lines[-1] == "end 20"
    assert "orders_etl" not in "".join(lines)


@pytest.mark.parametrize("block", ["op.pipeline('orders_etl'), op.stage('load')", "op.stage('load')"])
def test_ctrl_c(desk: Desk, block: str) -> None:
    """The line and the cursor are clean: the traceback stands alone; and SIGINT ends the program, also a script's."""
    program = desk.start(f"""
with {block}:
    while True: time.sleep(0.01)
""")
    program.drawn()
    program.terminal.type(CTRL_C)
    screen = program.end(-signal.SIGINT)
    assert screen.lines[0] == "^CTraceback (most recent call last):"
    assert screen.lines[-1] == "KeyboardInterrupt"
    assert "load  " not in "".join(screen.lines)
    assert screen.cursor == (len(screen.lines), 0)


def test_under_the_parent_a_killed_program_leaves_nothing(desk: Desk) -> None:
    """The child draws; where it is killed `otel-pipeline run` erases that before it prints the summary."""
    program = desk.start(
        """
with op.pipeline("orders_etl"), op.stage("load"):
    wait_for("go1")
    os.kill(os.getpid(), 9)
""",
        str(Path(sys.executable).with_name("otel-pipeline")), "run", "--",
    )  # fmt: skip
    assert "orders_etl" in program.drawn().lines[1]
    program.go()
    lines = program.end(-signal.SIGKILL).lines
    assert re.match(r" \? lost +orders_etl", lines[0])
    assert "  load  " not in "".join(lines)


def test_a_script_without_a_pipeline_is_drawn_by_its_stages(desk: Desk) -> None:
    """And not before it has one: a program that knows nothing of stages has the terminal for itself."""
    program = desk.start("""
wait_for("go1")
with op.stage("load"):
    wait_for("go2")
""")
    assert not program.terminal.appears(DRAWN, patience=2)
    program.go()
    assert "load" in program.drawn().lines[2]
    program.go()
    assert program.end().lines == []


@pytest.mark.parametrize(
    ("env", "term"),
    [({}, "dumb"), ({}, ""), ({"OTEL_PIPELINE_PROGRESS": "never"}, "xterm"), ({"OTEL_SDK_DISABLED": "true"}, "xterm")],
)
def test_not_where_it_is_not_wanted(desk: Desk, env: dict[str, str], term: str) -> None:
    """A terminal that can only write on, a setting that says so: the bytes are the program's alone."""
    program = desk.start(
        """
with op.pipeline("orders_etl"), op.stage("load"):
    wait_for("go1")
    print("end")
""",
        term=term, **env,
    )  # fmt: skip
    assert not program.terminal.appears("\x1b", patience=2)
    program.go()
    program.end()
    assert program.terminal.text == "end\r\n"


def test_no_colour_and_a_narrow_terminal(desk: Desk) -> None:
    """NO_COLOR takes the colours away; no line reaches the margin of a narrow terminal."""
    program = desk.start(
        """
with op.pipeline("orders_etl"), op.stage("a stage with quite a long name") as stage:
    stage.add(records_in=10**9, records_out=10**9, failed=10**6)
    wait_for("go1")
""",
        width=30, NO_COLOR="1",
    )  # fmt: skip
    program.drawn()
    assert not re.search(r"\x1b\[[0-9;]*[1-9]m", re.sub(r"\x1b\[[12]m", "", program.terminal.text))
    lines = Screen(30, HEIGHT).feed(program.terminal.text[: program.terminal.read_to]).lines
    assert max(map(len, lines)) < 30
    program.go()
    program.end()


def test_a_forked_child_draws_nothing(desk: Desk) -> None:
    """Not even one that begins runs; and what it prints is not waited for."""
    program = desk.start("""
import threading
with op.pipeline("orders_etl"), op.stage("load"):
    wait_for("go1")
    if not (child := os.fork()):
        with op.pipeline("in the child"):
            print([thread.name for thread in threading.enumerate() if "progress" in thread.name])
        os._exit(3)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
""")
    program.drawn()
    program.go()
    assert program.end().lines == ["[]", "3"]


def test_a_terminal_that_is_gone(desk: Desk) -> None:
    """Its end ends the drawing and nothing else."""
    program = desk.start("""
import signal, threading
signal.signal(signal.SIGHUP, signal.SIG_IGN)
with op.pipeline("orders_etl"), op.stage("load"):
    wait_for("go1")
open("told", "w").write("went on")
""")
    program.drawn()
    program.terminal.hang_up()
    program.go()
    assert program.terminal.process.wait(30) == 0
    assert (desk.lab.folder / "told").read_text() == "went on"


def test_one_process_draws_on_a_terminal(desk: Desk) -> None:
    """Of two at once the second waits until the first has nothing to draw."""
    program = desk.start(
        """
if len(sys.argv) == 1 and not os.environ.get("SECOND"):
    other = subprocess.Popen([sys.executable, __file__, "2"], start_new_session=False)
with op.pipeline("first" if len(sys.argv) == 1 else "second"), op.stage("load"):
    wait_for("go1" if len(sys.argv) == 1 else "go2")
if len(sys.argv) == 1: other.wait()
""",
        OTEL_PIPELINE_SCRIPT_RUN="false",
    )
    lines = program.drawn().lines
    seen = {"first", "second"} & set(re.findall(r"first|second", "".join(lines)))
    assert len(seen) == 1
    program.go()
    program.go()
    assert program.end().lines == []


def test_always(lab: Lab) -> None:
    """`always` draws into a pipe or a file too, for a terminal at its other end; nothing else does."""
    text = (
        BEGIN
        + """
with op.pipeline("orders_etl"), op.stage("load"):
    limit = time.monotonic() + 60
    while not (os.fstat(2).st_size or time.monotonic() > limit or sys.argv[1:]): time.sleep(0.01)
    time.sleep(2 * len(sys.argv[1:]))
"""
    )
    path = lab.write(text)
    shown = lab.folder / "shown"
    with shown.open("w") as file:
        done = subprocess.run(
            [sys.executable, str(path)], stderr=file, timeout=90, check=False, cwd=lab.folder,
            env=lab.environ(sends=False, OTEL_PIPELINE_PROGRESS="always"),
        )  # fmt: skip
    assert done.returncode == 0
    assert "orders_etl" in Screen().feed(shown.read_text("utf-8").split(DRAWN)[0]).lines[1]
    assert lab.python("etl.py", "auto", sends=False) == (0, "", "")


def test_a_stopped_terminal_holds_up_nothing(desk: Desk) -> None:
    """After Ctrl-S nobody reads; a program that does not print goes on."""
    program = desk.start("""
with op.pipeline("orders_etl"), op.stage("load"):
    wait_for("go1")
open("told", "w").write("went on")
""")
    program.drawn()
    program.terminal.type("\x13")
    program.go()
    for _ in range(600):
        if (desk.lab.folder / "told").exists():
            break
        time.sleep(0.05)
    assert (desk.lab.folder / "told").read_text() == "went on"
    program.terminal.type("\x11")
    program.end()
