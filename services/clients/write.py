"""Writes with the clients of others to the listeners of an agent, as applications do.

Usage: write.py CLIENT ADDRESS [TOKEN]. Ends with status 0 when the client says that all went well.
"""

import sys


def statsd(address):
    from statsd import StatsClient

    host, port = address.rsplit(":", 1)
    client = StatsClient(host, int(port), prefix="shop")
    for _ in range(5):
        client.incr("orders")
    client.incr("orders", 10)
    client.gauge("queue", 7)
    client.gauge("queue", -3, delta=True)
    for milliseconds in range(1, 101):
        client.timing("answer", milliseconds)
    for user in ("ann", "bob", "ann"):
        client.set("users", user)
    with client.pipeline() as pipeline:
        pipeline.incr("orders", 2)
        pipeline.gauge("depth", 1.5)


def statsd_tcp(address):
    from statsd import TCPStatsClient

    host, port = address.rsplit(":", 1)
    client = TCPStatsClient(host, int(port), prefix="tcp")
    client.incr("orders", 3)
    client.close()


def datadog(address):
    from datadog.dogstatsd import DogStatsd

    host, port = address.rsplit(":", 1)
    client = DogStatsd(
        host=host,
        port=int(port),
        disable_telemetry=True,
        constant_tags=["env:test"],
    )
    client.increment("dog.orders", 4, tags=["country:se"])
    client.distribution("dog.sizes", 3)
    client.histogram("dog.sizes", 5)
    client.gauge("dog.depth", 2.5)
    client.event("deployed", "version 7")
    client.flush()


def influx1(address, token):
    from influxdb import InfluxDBClient

    host, port = address.rsplit(":", 1)
    client = InfluxDBClient(host, int(port), "user", token, "shop", gzip=True)
    assert client.ping()
    client.create_database("shop")
    points = [
        {
            "measurement": "influx1_orders",
            "tags": {"country": "se"},
            "time": 1795183200,
            "fields": {"count": 3, "paid": True, "note": "a \"b\" c"},
        }
    ]
    assert client.write_points(points, time_precision="s")


def influx2(address, token):
    from influxdb_client import InfluxDBClient, Point
    from influxdb_client.client.write_api import SYNCHRONOUS
    from influxdb_client.rest import ApiException

    with InfluxDBClient(
        url=f"http://{address}", token=token, org="o", enable_gzip=True
    ) as client:
        assert client.ping()
        with client.write_api(write_options=SYNCHRONOUS) as api:
            point = Point("influx2_orders").tag("country", "se").field("count", 4)
            api.write(bucket="b", record=point)
            try:
                api.write(bucket="b", record=["influx2_orders count=5", "no line"])
            except ApiException as error:
                assert error.status == 400 and "line 2" in error.body, error
            else:
                raise AssertionError("a bad line was not told")
    with InfluxDBClient(url=f"http://{address}", token="wrong", org="o") as client:
        with client.write_api(write_options=SYNCHRONOUS) as api:
            try:
                api.write(bucket="b", record="influx2_orders count=6")
            except ApiException as error:
                assert error.status == 401, error
            else:
                raise AssertionError("a wrong token was taken")


def otlp(exporter, name):
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource

    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
    resource = Resource.create({"service.name": "shop"})
    provider = MeterProvider(metric_readers=[reader], resource=resource)
    meter = provider.get_meter("shop.orders")
    meter.create_counter(f"{name}.orders").add(5, {"country": "se"})
    meter.create_up_down_counter(f"{name}.open").add(-2)
    histogram = meter.create_histogram(f"{name}.answer")
    for seconds in (0.2, 0.3, 7.0):
        histogram.record(seconds)
    assert provider.force_flush(10_000), "the exporter gave up"
    provider.shutdown()


def otlp_http(address, token):
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

    exporter = OTLPMetricExporter(
        endpoint=f"http://{address}/v1/metrics",
        headers={"authorization": f"Bearer {token}"},
        compression=Compression.Gzip,
    )
    otlp(exporter, "otlp_http")


def otlp_grpc(address, token):
    from grpc import Compression
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter

    exporter = OTLPMetricExporter(
        endpoint=f"http://{address}",
        insecure=True,
        headers={"authorization": f"Bearer {token}"},
        compression=Compression.Gzip,
    )
    otlp(exporter, "otlp_grpc")


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
