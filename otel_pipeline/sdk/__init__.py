"""Where the process's telemetry is wired: the only room that touches OpenTelemetry's globals."""
