"""One trace, the right parent and exact counts across threads, tasks and processes, each of them real."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.sdk.conftest import Lab
    from tests.sdk.receiver import Receiver

# Module level is what a spawned child imports as well: setup() is below the guard only.
PROGRAM = """
import asyncio, logging, multiprocessing, os, subprocess, sys, threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
import otel_pipeline as op
logging.getLogger().addHandler(logging.NullHandler())
def work(number=1, more=0):
    with op.stage("work") as stage:
        stage.add(records_out=number + more)
        logging.getLogger("worker").warning("at %s", number)
    return number * 2
def fail(number):
    with op.stage("work") as stage:
        stage.add(records_out=number)
        raise LookupError("bad", number)
{functions}
def main():
    with op.pipeline("orders"):
        with op.stage("load"):
{body}
if __name__ == "__main__":
    op.setup("orders")
    main()
"""


def quiet(lab: Lab, body: str, functions: str = "", **options: object) -> Receiver:
    """Run the program with this body inside its stage."""
    indented = "\n".join(" " * 12 + line for line in body.strip().splitlines())
    lab.write(PROGRAM.format(functions=functions, body=indented))
    # A fork in a program with threads is deprecated from 3.12 on: with us as without, where it has threads of its own.
    outcome = lab.python("-W", "ignore::DeprecationWarning", "etl.py", **options)  # type: ignore[arg-type]
    assert (outcome.code, outcome.err) == (0, ""), outcome
    return lab.receiver


def check(receiver: Receiver, count: int, records: int) -> None:
    """That ``count`` stages of workers came, below the stage in the one trace, with ``records`` in all.

    A process that ends while it sends has the request repeated by another: a second arrival of a span changes nothing.
    """
    run, load, works = receiver.one("run orders"), receiver.one("stage load"), receiver.named("stage work")
    assert len({span.id for span in works}) == count
    assert {span.trace for span in receiver.spans} == {run.trace}
    assert {span.parent for span in works} == {load.id}
    assert load.parent == run.id
    assert {span.attributes["pipeline.run.id"] for span in works} == {run.attributes["pipeline.run.id"]}
    assert {span.attributes["pipeline.name"] for span in works} == {"orders"}
    assert {span.resource["service.name"] for span in receiver.spans} == {"orders"}
    assert receiver.total("pipeline.stage.records", pipeline__stage__name="work") == records
    assert receiver.total("pipeline.stage.duration", pipeline__stage__name="work") == count
    assert receiver.total("pipeline.run.ended") == 1
    logs = [log for log in receiver.logs if not log.event]
    assert {log.span for log in logs} == {span.id for span in works}


THREADS = {
    "Thread": """
threads = [threading.Thread(target=work, args=(n,)) for n in range(5)]
[thread.start() for thread in threads]; [thread.join() for thread in threads]
""",
    "a subclass of Thread": """
class Worker(threading.Thread):
    def run(self): work(int(self.name))
threads = [Worker(name=str(n)) for n in range(5)]
[thread.start() for thread in threads]; [thread.join() for thread in threads]
assert all("run" not in vars(thread) for thread in threads)
""",
    "Timer": "timers = [threading.Timer(0, work, (n,)) for n in range(5)]\n"
    "[timer.start() for timer in timers]; [timer.join() for timer in timers]",
    "ThreadPoolExecutor": "with ThreadPoolExecutor(2) as pool:\n"
    "    assert list(pool.map(work, range(4))) == [0, 2, 4, 6]\n    assert pool.submit(work, number=4).result() == 8",
    "ThreadPool": "from multiprocessing.pool import ThreadPool\nwith ThreadPool(2) as pool:\n"
    "    assert pool.map(work, range(4)) == [0, 2, 4, 6]\n    assert pool.apply(work, (4,)) == 8",
    "asyncio": """
async def task(n):
    await asyncio.sleep(0)
    with op.stage("work") as stage:
        await asyncio.sleep(0); stage.add(records_out=n); logging.getLogger("worker").warning("at %s", n)
async def every(): await asyncio.gather(*(asyncio.create_task(task(n)) for n in range(5)))
asyncio.run(every())
""",
    "asyncio.to_thread": """
async def every(): await asyncio.gather(*(asyncio.to_thread(work, n) for n in range(5)))
asyncio.run(every())
""",
    "run_in_executor": """
async def every():
    loop = asyncio.get_running_loop()
    await asyncio.gather(*(loop.run_in_executor(None, work, n) for n in range(5)))
asyncio.run(every())
""",
}
PROCESSES = {
    "Process": """
processes = [context.Process(target=work, args=(n,)) for n in range(5)]
[process.start() for process in processes]; [process.join() for process in processes]
assert [process.exitcode for process in processes] == [0] * 5
""",
    "Pool.map": "with context.Pool(2) as pool: assert pool.map(work, range(5)) == [0, 2, 4, 6, 8]",
    "Pool.map in chunks": "with context.Pool(2) as pool: assert pool.map(work, range(5), 3) == [0, 2, 4, 6, 8]",
    "Pool.imap": "with context.Pool(2) as pool: assert list(pool.imap(work, range(5))) == [0, 2, 4, 6, 8]",
    "Pool.imap in chunks": "with context.Pool(2) as pool: assert list(pool.imap(work, range(5), 2)) == [0, 2, 4, 6, 8]",
    "Pool.imap_unordered": "with context.Pool(2) as pool: "
    "assert sorted(pool.imap_unordered(work, range(5))) == [0, 2, 4, 6, 8]",
    "Pool.starmap": "with context.Pool(2) as pool: "
    "assert pool.starmap(work, [(1, 1), (2,), (3, -3), (4,), (0, 2)]) == [2, 4, 6, 8, 0]",
    "Pool.apply_async": """
with context.Pool(2) as pool:
    results = [pool.apply_async(work, kwds={"number": n}) for n in range(5)]
    assert [result.get() for result in results] == [0, 2, 4, 6, 8]
""",
    "Pool, closed and joined": "pool = context.Pool(2); pool.map_async(work, range(5)); pool.close(); pool.join()",
    "Pool with maxtasksperchild": "with context.Pool(2, maxtasksperchild=1) as pool: "
    "assert pool.map(work, range(5), 1) == [0, 2, 4, 6, 8]",
    "Executor.map": "with ProcessPoolExecutor(2, mp_context=context) as pool: "
    "assert list(pool.map(work, range(5), chunksize=2)) == [0, 2, 4, 6, 8]",
    "Executor.submit": """
with ProcessPoolExecutor(2, mp_context=context) as pool:
    futures = [pool.submit(work, number=n) for n in range(5)]
    assert [future.result() for future in futures] == [0, 2, 4, 6, 8]
""",
}


@pytest.mark.parametrize("way", THREADS)
def test_threads_and_tasks(lab: Lab, way: str) -> None:
    """What runs beside the code that started it belongs to the same stage."""
    check(quiet(lab, THREADS[way]), 5, 10)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("way", PROCESSES)
def test_processes(lab: Lab, way: str, method: str) -> None:
    """What runs in another process belongs to the stage that asked for it; everything arrives, nothing twice."""
    receiver = quiet(lab, f"context = multiprocessing.get_context({method!r})\n{PROCESSES[way]}")
    check(receiver, 5, 10)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_pool_that_is_left_open(lab: Lab, method: str) -> None:
    """Its workers end after their parent has sent the last time: what they leave on disk the next process brings."""
    body = "global pool; pool = context.Pool(2); assert pool.map(work, range(5)) == [0, 2, 4, 6, 8]"
    quiet(lab, f"context = multiprocessing.get_context({method!r})\n{body}")
    lab.quiet("import otel_pipeline as op\nassert op.setup(script_run=False).flush(60)\n")
    check(lab.receiver, 5, 10)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_under_the_launcher(lab: Lab, method: str) -> None:
    """Its children are launched as well: they join their parent's run and begin none of their own."""
    text = PROGRAM.replace('    op.setup("orders")\n', "")
    body = f"context = multiprocessing.get_context({method!r})\n{PROCESSES['Process']}{PROCESSES['Executor.map']}"
    lab.write(text.format(functions="", body="\n".join(" " * 12 + line for line in body.strip().splitlines())))
    outcome = lab.python("-W", "ignore::DeprecationWarning", "etl.py", launched=True,
                         env={"OTEL_SERVICE_NAME": "orders"})  # fmt: skip
    assert (outcome.code, outcome.err) == (0, "")
    check(lab.receiver, 10, 20)


def test_tasks_belong_to_the_stage_that_submitted_them(lab: Lab) -> None:
    """Not to the one during which the worker was started, nor to any when there was none."""
    receiver = quiet(
        lab,
        """
pool = ProcessPoolExecutor(1)
assert pool.submit(work).result() == 2
with op.stage("second"): assert pool.submit(work).result() == 2
outside.append(pool)
""",
        functions="outside = []",
    )
    lab.write((lab.folder / "etl.py").read_text() + "    assert outside[0].submit(work).result() == 2\n")
    receiver.spans.clear()
    assert lab.python("-W", "ignore::DeprecationWarning", "etl.py").code == 0
    parents = {span.id: span.name for span in receiver.spans}
    assert sorted(parents.get(span.parent, "") for span in receiver.named("stage work")) == [
        "run orders", "stage load", "stage second",
    ]  # fmt: skip


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_exceptions_come_back_as_they_are(lab: Lab, method: str) -> None:
    """Type and arguments; and what cannot be pickled fails with the error that it would give without us."""
    receiver = quiet(
        lab,
        f"""
context = multiprocessing.get_context({method!r})
def caught(call):
    try: call()
    except Exception as error: return type(error).__name__, error.args
    raise AssertionError("no error")
with context.Pool(1) as pool, ProcessPoolExecutor(1, mp_context=context) as executor:
    assert caught(lambda: pool.apply(fail, (1,))) == ("LookupError", ("bad", 1))
    assert caught(lambda: pool.map(fail, [2])) == ("LookupError", ("bad", 2))
    assert caught(executor.submit(fail, 3).result) == ("LookupError", ("bad", 3))
    for submit in (lambda: pool.apply(lambda: 1), executor.submit(lambda: 1).result):
        name, arguments = caught(submit)
        assert name in ("PicklingError", "AttributeError") and "lambda" in arguments[0], arguments
    for wrong in (lambda: pool.apply(None), lambda: executor.submit(None).result()):
        assert caught(wrong) == ("TypeError", ("'NoneType' object is not callable",))
""",
    )
    works = receiver.named("stage work")
    assert [span.attributes["error.type"] for span in works] == ["LookupError"] * 3
    assert receiver.total("pipeline.stage.records", pipeline__stage__name="work") == 6


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_pool_that_is_terminated_at_work_is_terminated(lab: Lab, method: str) -> None:
    """A task that would never end does not keep it."""
    quiet(
        lab,
        f"""
context = multiprocessing.get_context({method!r})
pool = context.Pool(2)
pool.apply_async(hang)
pool.apply(work)
pool.terminate(); pool.join(); pool.terminate()
""",
        functions="def hang(): threading.Event().wait()",
    )
    assert lab.receiver.one("run orders").attributes["pipeline.run.result"] == "success"


def test_a_forked_child_that_goes_on_ends_nothing_of_its_parents(lab: Lab) -> None:
    """It unwinds through its parent's blocks; what it does itself is there once."""
    receiver = quiet(
        lab,
        """
pid = os.fork()
if pid: assert os.waitpid(pid, 0)[1] == 0
work(3 if pid else 4)
""",
    )
    check(receiver, 2, 7)


CHILD = """
import logging, sys, otel_pipeline as op
op.setup("orders")
logging.getLogger().addHandler(logging.NullHandler())
with op.stage("work") as stage:
    stage.add(records_out=int(sys.argv[1])); logging.getLogger("worker").warning("at")
"""


@pytest.mark.parametrize("env", ["None", "dict(os.environ)", "dict(os.environ, DAY='1')"])
def test_a_python_child_with_setup_joins_the_run(lab: Lab, env: str) -> None:
    """By ``TRACEPARENT``: below the stage, in the run, and no run of its own."""
    lab.write(CHILD, "child.py")
    receiver = quiet(
        lab, f"for n in (2, 3): subprocess.run([sys.executable, 'child.py', str(n)], check=True, env={env})"
    )
    check(receiver, 2, 5)


def test_a_pipeline_in_a_child_is_a_run_within_the_run(lab: Lab) -> None:
    """Its span hangs below the stage that started the process, and it names the run above."""
    lab.write("import otel_pipeline as op\nop.setup()\nwith op.pipeline('inner'): pass\n", "child.py")
    receiver = quiet(lab, "subprocess.run([sys.executable, 'child.py'], check=True)")
    inner, outer = receiver.one("run inner"), receiver.one("run orders")
    assert inner.parent == receiver.one("stage load").id
    assert inner.attributes["pipeline.run.parent.id"] == outer.attributes["pipeline.run.id"]


def test_what_the_program_says_of_a_childs_environment_holds(lab: Lab) -> None:
    """A dictionary of its own gets the trace and nothing else; a ``TRACEPARENT`` of its own is kept."""
    quiet(
        lab,
        """
show = [sys.executable, "-c", "import os; print(sorted(n for n in os.environ if n != 'LC_CTYPE'))"]
given = {"DAY": "1"}
names = subprocess.check_output(show, env=given, text=True).strip()
assert names == str(["DAY", "OTEL_PIPELINE_PARENT_RUN", "TRACEPARENT"]), names
assert given == {"DAY": "1"}
show[2] = "import os; print(os.environ['TRACEPARENT'], 'OTEL_PIPELINE_PARENT_RUN' in os.environ)"
own = f"00-{1:032x}-{2:016x}-01"
ours = subprocess.check_output(show, text=True)
assert ours.split("-")[1] == f"{op.current_stage().span.get_span_context().trace_id:032x}"
for env in ({"TRACEPARENT": own}, {b"TRACEPARENT": own.encode()}):
    assert subprocess.check_output(show, env=env, text=True).strip() == f"{own} False"
os.environ["TRACEPARENT"] = own
assert subprocess.check_output(show, text=True).strip() == f"{own} False"
assert subprocess.check_output(show, env=dict(os.environ), text=True).strip() == f"{own} False"
""",
    )


def test_a_process_takes_up_the_trace_that_it_is_given(lab: Lab) -> None:
    """``TRACEPARENT`` from a scheduler: the run hangs below its span; a copy of the environment passes ours on."""
    parent = f"00-{1:032x}-{2:016x}-01"
    lab.write(CHILD, "child.py")
    env = {"TRACEPARENT": parent, "TRACESTATE": "vendor=1"}
    receiver = quiet(
        lab, "subprocess.run([sys.executable, 'child.py', '4'], check=True, env=dict(os.environ))", env=env
    )
    run = receiver.one("run orders")
    assert (run.trace, run.parent) == (f"{1:032x}", f"{2:016x}")
    check(receiver, 1, 4)


def test_programs_of_other_kinds_run_as_ever(lab: Lab) -> None:
    """With a shell, with what is missing, in positions of old."""
    quiet(
        lab,
        """
assert subprocess.check_output("echo $DAY", shell=True, env={"DAY": "1"}, text=True) == "1\\n"
assert subprocess.Popen(["true"], -1, None, None, None, None, None, True, False, None, {"A": "1"}).wait() == 0
try: subprocess.run(["no-such-program"])
except FileNotFoundError as error: assert error.filename == "no-such-program"
try: subprocess.run(["true"], env=3)
except (TypeError, AttributeError): pass
""",
    )


BESIDE = """
import sys, threading
import otel_pipeline as op
def follow():
    start = threading.Thread.start
    def starting(self):
        function = getattr(self.run, "__func__", self.run)
        self.run = lambda: function(threading.current_thread())
        return start(self)
    threading.Thread.start = starting
class Own(threading.Thread):
    def run(self):
        work()
def work():
    with op.stage("work"):
        pass
if sys.argv[1] == "theirs":
    follow()
op.setup("orders")
if sys.argv[1] == "ours":
    follow()
with op.pipeline("orders"), op.stage("load"):
    for thread in (threading.Thread(target=work), Own()):
        thread.start()
        thread.join()
"""


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_threads_beside_a_tool_that_calls_the_function_of_run(lab: Lab, first: str) -> None:
    """As Sentry's SDK does: it takes the function out of ``thread.run``, and calls it with the thread."""
    receiver = lab.quiet(BESIDE, first)
    assert receiver.tree() == {"": ["run orders"], "run orders": ["stage load"], "stage load": ["stage work"] * 2}
