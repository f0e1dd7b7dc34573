"""What listens to metrics in tests: a StatsD server, and a collector of OpenTelemetry's."""

from __future__ import annotations

import re
import socket
import threading
from collections import Counter
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest


class StatsDServer:
    """Listens on a UDP port and adds up what comes (https://github.com/statsd/statsd/blob/master/docs).

    ``env`` makes Airflow send to it.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.2)
        self.env = {
            "AIRFLOW__METRICS__STATSD_ON": "True",
            "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
            "AIRFLOW__METRICS__STATSD_PORT": str(self._socket.getsockname()[1]),
            "AIRFLOW__METRICS__STATSD_PREFIX": "af",
        }
        self._counters: Counter[str] = Counter()
        #: What gauges and timers said, the newest last; times are in milliseconds.
        self.values: dict[str, list[float]] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def counters(self) -> Mapping[str, float]:
        """Return counters by name."""
        return dict(self._counters)

    def measured(self) -> set[str]:
        """Return the names of gauges and timers."""
        return set(self.values)

    def close(self) -> None:
        self._stopped.set()
        self._thread.join()
        self._socket.close()

    def _listen(self) -> None:
        while not self._stopped.is_set():
            try:
                packet = self._socket.recv(65535).decode()
            except TimeoutError:
                continue
            for line in packet.splitlines():
                name, value, kind = re.fullmatch(r"([^:]+):([^|]+)\|(\w+).*", line).groups()  # type: ignore[union-attr]
                if kind == "c":
                    self._counters[name] += int(value)
                else:
                    self.values.setdefault(name, []).append(float(value))


class OpenTelemetryCollector:
    """Takes metrics as OTLP over HTTP (https://opentelemetry.io/docs/specs/otlp/); remembers the newest.

    ``env`` makes Airflow send to it; where and how often is said by OpenTelemetry's own variables.
    """

    def __init__(self) -> None:
        self._points: dict[tuple[str, frozenset[tuple[str, str]], int], float] = {}
        self._measured: set[str] = set()
        self._lock = threading.Lock()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                collector.take(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.env = {
            "AIRFLOW__METRICS__OTEL_ON": "True",
            "AIRFLOW__METRICS__OTEL_PREFIX": "af",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self._server.server_port}",
            "OTEL_METRIC_EXPORT_INTERVAL": "500",
        }
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def counters(self, **tags: str) -> Mapping[str, float]:
        """Return counters by name: of all series, or of those that carry all of the tags."""
        found: Counter[str] = Counter()
        with self._lock:
            for (name, attributes, _), value in self._points.items():
                if attributes >= set(tags.items()):
                    found[name] += value  # type: ignore[assignment]
        return found

    def measured(self) -> set[str]:
        """Return the names of gauges and histograms."""
        with self._lock:
            return set(self._measured)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def take(self, body: bytes) -> None:
        """Remember what one export says; counters are cumulative since their process started them."""
        sent = ExportMetricsServiceRequest.FromString(body)
        metrics = [m for r in sent.resource_metrics for scope in r.scope_metrics for m in scope.metrics]
        with self._lock:
            for metric in metrics:
                if metric.WhichOneof("data") != "sum":
                    self._measured.add(metric.name)
                    continue
                for point in metric.sum.data_points:
                    tags = frozenset((each.key, each.value.string_value) for each in point.attributes)
                    value = point.as_int or point.as_double
                    self._points[metric.name, tags, point.start_time_unix_nano] = value
