"""Lazy stages in cycles of garbage, collected at any moment: also within ContextVar.set. See test_collector.py."""

import gc
import sys
from contextvars import ContextVar

import otel_pipeline as op

others = [ContextVar(f"other {number}", default=0) for number in range(40)]
for other in others:
    other.set(1)
variable = ContextVar("variable")


@op.stage
def rows():
    with op.stage("held"):
        yield from range(10)


def garbage():
    cycle = [rows()]
    cycle.append(cycle)
    next(cycle[0])


with op.pipeline("p"):
    for threshold in (1, 2, 3, 5, 7, 11):
        gc.set_threshold(threshold, 5, 5)
        for number in range(int(sys.argv[1])):
            garbage()
            value = {"number": number}
            for _ in range(10):
                variable.set(value)
                if variable.get() is not value:
                    sys.exit("a context variable has another value than it was given")
                with op.stage("beside"):
                    pass
print("intact")
