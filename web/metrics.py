"""Numbers for Prometheus, in a registry of their own for each service."""

from collections.abc import Callable, Mapping

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from web.request_log import RequestRecord

PREFIX = "fast_style_transfer"
SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)  # bounds of the histograms
CONTENT_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """What a service counts. waiting: returns how many photos wait now. connections: how many are open."""

    def __init__(self, waiting: Callable[[], int], connections: Callable[[], int] = lambda: 0):
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)  # memory, seconds of the CPU and open files of this process
        self._requests = Counter(
            f"{PREFIX}_requests", "finished requests", ("route", "method", "status"), registry=registry
        )
        self._seconds = Histogram(
            f"{PREFIX}_request_seconds", "whole requests", ("route",), buckets=SECONDS, registry=registry
        )
        self._stages = Histogram(
            f"{PREFIX}_stage_seconds", "stages of photos", ("stage",), buckets=SECONDS, registry=registry
        )
        self._received = Counter(f"{PREFIX}_received_bytes", "bodies of requests", registry=registry)
        self._sent = Counter(f"{PREFIX}_sent_bytes", "bodies of answers", registry=registry)
        self._megapixels = Counter(f"{PREFIX}_megapixels", "pictures that were made", registry=registry)
        waiting_gauge = Gauge(
            f"{PREFIX}_waiting_photos", "photos that wait for the network", registry=registry
        )
        waiting_gauge.set_function(waiting)
        connections_gauge = Gauge(f"{PREFIX}_connections", "open connections", registry=registry)
        connections_gauge.set_function(connections)

    def count_request(self, record: RequestRecord) -> None:
        """Counts a request that has ended."""
        self._requests.labels(record.route, record.method, record.status).inc()
        self._seconds.labels(record.route).observe(record.seconds)
        self._received.inc(record.bytes_in)
        self._sent.inc(record.bytes_out)

    def count_picture(self, seconds: Mapping[str, float], megapixels: float) -> None:
        """Counts a picture that was made. seconds: by stage."""
        for stage, stage_seconds in seconds.items():
            self._stages.labels(stage).observe(stage_seconds)
        self._megapixels.inc(megapixels)

    def text(self) -> bytes:
        """All numbers in the format of Prometheus."""
        return generate_latest(self._registry)
