"""End-to-end tests: the real Collector, Jaeger, Prometheus and VictoriaLogs on loopback."""
