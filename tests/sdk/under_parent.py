"""``otel-pipeline run`` of a script, without the entry point: for tests from a checkout."""

import sys

from otel_pipeline.run import leave, run

leave(run([sys.executable, *sys.argv[1:]], quiet=True))
