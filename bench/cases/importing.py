"""Row 4: what an import costs. Prints CPU seconds."""

import sys
import time

MODULES = {"ours": "otel_pipeline", "opentelemetry.sdk.trace": "opentelemetry.sdk.trace"}

if __name__ == "__main__":
    before = time.process_time()
    __import__(MODULES[sys.argv[1]])
    print(time.process_time() - before)
