"""On a real terminal: Ctrl-C, Ctrl-Z and fg, a debugger."""

from __future__ import annotations

import shutil
import signal
import sys

import pytest

from tests.run.conftest import PYTHON, ROOT, Parent

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX terminals")

if sys.platform != "win32":
    from tests.run.terminals import CTRL_C, CTRL_D, CTRL_Z, Terminal

COUNTING = """
import signal, time
seen = []
signal.signal(signal.SIGINT, lambda *_: seen.append(1))
print("ready", flush=True)
while not seen:
    time.sleep(0.01)
limit = time.monotonic() + 0.5
while time.monotonic() < limit:
    time.sleep(0.01)
print("interrupts:", len(seen), "<")
"""

STOPPABLE = """
import time
print("ready", flush=True)
for line in iter(input, "end"):
    print("got", line[::-1], flush=True)
print("done", flush=True)
raise SystemExit(9)
"""


def on_terminal(parent: Parent, *command: str) -> Terminal:
    """``command`` on a terminal of its own."""
    return Terminal(command, parent.environ(), cwd=str(ROOT))


def in_shell(parent: Parent) -> Terminal:
    """An interactive shell, which does job control."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash for job control")
    shell = on_terminal(parent, bash, "--norc", "--noprofile", "--noediting", "-i")
    shell.type("PS1='@''> '\n")
    shell.expect("@> ")
    return shell


def quoted(words: list[str]) -> str:
    """``words`` for a shell."""
    return " ".join("'" + word.replace("'", "'\\''") + "'" for word in words)


@pytest.mark.parametrize("shell", [False, True], ids=["session leader", "in a shell"])
def test_ctrl_c_reaches_the_command_once(parent: Parent, shell: bool) -> None:
    """Ctrl-C interrupts the command exactly once and does not end the parent."""
    argv = parent.argv(*PYTHON, parent.script(COUNTING))
    with in_shell(parent) if shell else on_terminal(parent, *argv) as terminal:
        if shell:
            terminal.type(quoted(argv) + "; echo status:$?:\n")
        terminal.expect("ready")
        terminal.type(CTRL_C)
        terminal.expect("interrupts: 1 <")
        if shell:
            terminal.expect("status:0:")
        else:
            assert terminal.end() == 0
    assert parent.attributes["pipeline.run.result"] == "success"


def test_ctrl_c_ends_a_command_as_an_interrupt(parent: Parent) -> None:
    """A command that Ctrl-C ends: the shell sees a death by SIGINT, the run is a cancellation."""
    script = parent.script("import time\nprint('ready', flush=True)\ntime.sleep(600)")
    with on_terminal(parent, *parent.argv(*PYTHON, script)) as terminal:
        terminal.expect("ready")
        # Between the prompt and the read behind it Python misses an interrupt until the next key, parent or not.
        for _ in range(30):
            terminal.type(CTRL_C)
            if terminal.appears("KeyboardInterrupt", patience=1):
                break
        assert terminal.end() == -signal.SIGINT
    assert parent.attributes["pipeline.run.result"] == "cancellation"


def test_ctrl_z_and_fg(parent: Parent) -> None:
    """The job stops as a whole, goes on with fg and reads from the terminal, several times, and keeps its status."""
    with in_shell(parent) as shell:
        shell.type(quoted(parent.argv(*PYTHON, parent.script(STOPPABLE))) + "; echo status:$?:\n")
        shell.expect("ready")
        for word in ("abc", "def", "ghi", "jkl", "mno"):
            shell.type(CTRL_Z)
            shell.expect("Stopped")
            shell.expect("@> ")
            shell.type("jobs\n")
            shell.expect("Stopped")
            shell.type("fg\n")
            shell.expect("tests.run.parent_process")
            shell.type(f"{word}\n")
            shell.expect(f"got {word[::-1]}")
        shell.type("end\n")
        shell.expect("done")
        shell.expect("@> ")
        shell.type("echo status:$?:\n")
        shell.expect("status:9:")
        shell.type("exit\n")
        shell.end()
    assert parent.attributes["process.exit.code"] == 9


def test_a_background_job_that_reads_is_stopped(parent: Parent) -> None:
    """In the background, reading from the terminal stops the job, and fg lets it read."""
    with in_shell(parent) as shell:
        shell.type(quoted(parent.argv(*PYTHON, parent.script(STOPPABLE))) + " &\n")
        shell.expect("ready")
        shell.type("until jobs -s | grep -q Stopped; do sleep 0.1; done; echo sto''pped\n")
        shell.expect("stopped")
        shell.type("fg\n")
        shell.type("abc\n")
        shell.expect("got cba")
        shell.type("end\n")
        shell.expect("done")
        shell.type("exit\n")
        shell.end()
    assert parent.attributes["process.exit.code"] == 9


def test_a_debugger(parent: Parent) -> None:
    """pdb reads its commands from the terminal under the parent as without it."""
    script = parent.script("value = 20\nbreakpoint()\nprint('end', value)")
    with on_terminal(parent, *parent.argv(*PYTHON, script)) as terminal:
        terminal.expect("(Pdb) ")
        terminal.type("p value * 2 + 2\n")
        terminal.expect("42")
        terminal.expect("(Pdb) ")
        # Between the prompt and the read behind it Python misses an interrupt until the next key, parent or not.
        for _ in range(30):
            terminal.type(CTRL_C)
            if terminal.appears("KeyboardInterrupt", patience=1):
                break
        terminal.expect("(Pdb) ")
        terminal.type("c\n")
        terminal.expect("end 20")
        assert terminal.end() == 0


def test_the_end_of_input(parent: Parent) -> None:
    """Ctrl-D ends the command's input."""
    with on_terminal(parent, *parent.argv("cat")) as terminal:
        terminal.type("abc\n")
        terminal.expect("abc\r\nabc")
        terminal.type(CTRL_D)
        assert terminal.end() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="needs the code of a signal")
def test_a_hangup_of_the_terminal_reaches_the_command(parent: Parent) -> None:
    """The kernel tells only the session's leader, as by ``ssh -t``: the parent tells the command."""
    script = parent.script(
        "import os, signal, sys, time\n"
        "hung = []\n"
        "signal.signal(signal.SIGHUP, lambda *_: hung.append(1))\n"
        "print('ready', flush=True)\n"
        "while not hung: time.sleep(0.01)\n"
        "open(sys.argv[1], 'w').write('hung up')\n"
    )
    told = parent.folder / "told"
    terminal = on_terminal(parent, *parent.argv(*PYTHON, script, str(told)))
    terminal.expect("ready")
    terminal.hang_up()
    assert terminal.process.wait(30) == 0
    assert told.read_text() == "hung up"
