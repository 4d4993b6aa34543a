"""Figures for Prometheus."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """One server's figures.

    Args:
        waiting, streams: how many there are at the moment.
    """

    def __init__(self, waiting: Callable[[], float], streams: Callable[[], float]):
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "flowvocoder_requests", "Requests by path and status", ["path", "status"], registry=registry
        )
        self.seconds = Histogram(
            "flowvocoder_request_seconds", "Time to an answer", ["path"], buckets=_SECONDS, registry=registry
        )
        self.audio = Counter("flowvocoder_audio_seconds", "Audio synthesised, by path", ["path"], registry=registry)
        self.batches = Histogram(
            "flowvocoder_batch_size", "Requests in one synthesis", buckets=(1, 2, 4, 8, 16, 32), registry=registry
        )
        for name, what, value in (
            ("flowvocoder_requests_waiting", "Requests at work or waiting", waiting),
            ("flowvocoder_streams_open", "Streams", streams),
        ):
            Gauge(name, what, registry=registry).set_function(value)

    def text(self) -> bytes:
        """What a scrape gets."""
        return generate_latest(self.registry)
