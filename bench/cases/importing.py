"""Row 4: what an import costs. Prints CPU seconds."""

import sys
import time

STATEMENTS = {
    "ours": "import otel_pipeline",
    "ours, its names": "from otel_pipeline import current_run, current_stage, pipeline, stage",
    "opentelemetry.trace": "import opentelemetry.trace",
    "opentelemetry.sdk.trace": "import opentelemetry.sdk.trace",
}

if __name__ == "__main__":
    code = compile(STATEMENTS[sys.argv[1]], "<import>", "exec")
    before = time.process_time()
    exec(code)
    print(time.process_time() - before)
