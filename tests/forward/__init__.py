"""The KPI metrics on their way to Prometheus."""
