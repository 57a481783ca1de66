"""OTLP over gRPC and HTTP: bytes in, an answer out.

::

    gRPC  :4317 ─► over_grpc.py ─┐  bounded: bounds.py        ┌─► Accepted    (all, or all but so many)
    HTTP  :4318 ─► over_http.py ─┴─► handle(signal, payload) ─┼─► Refused     never again: the client throws it away
          JSON ─► otlp_json.py                                └─► RetryLater  the same again, in so many seconds

A request is handed on unparsed, as protobuf's bytes, and answered by what ``handle`` says of it: only what ``handle``
has accepted is acknowledged. This room knows neither spans nor the store.
"""
