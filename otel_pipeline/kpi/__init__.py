"""From spans to what they say of pipelines. Pure: no thread, socket, clock or SDK."""
