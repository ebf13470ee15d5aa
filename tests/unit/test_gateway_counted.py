"""What the gateway counts: lines as nginx writes them."""

import pytest
from prometheus_client import generate_latest

from appliance.core import metrics
from appliance.gateway.counted import Counter, Request, parse

HEAD = b"<190>Nov 25 02:49:33 nginx: "


@pytest.mark.parametrize(
    ("line", "read"),
    [
        (b"200 0.120 200;0.012", Request("200", 0.012, ("200",))),
        (b"200 61.000 200;0.003", Request("200", 0.003, ("200",))),  # a stream: until it began
        (b"200 1.250 504, 200;1.000, 0.250", Request("200", 1.25, ("504", "200"))),
        (b"503 1.000 502 : 200;- : 0.000", Request("503", 0.0, ("502", "200"))),
        (b"404 0.000 -;-", Request("404", 0.0, ())),
        (b"499 0.400 -;-", Request("499", 0.4, ())),
    ],
)
def test_a_line_is_read_as_nginx_means_it(line: bytes, read: Request) -> None:
    assert parse(HEAD + line) == read


@pytest.mark.parametrize(
    "line", [b"", b"hello", HEAD, HEAD + b"200", HEAD + b"200 soon -;-", b"\xff\xfe", HEAD + b"\xff ;"]
)
def test_what_is_no_line_is_left_out(line: bytes) -> None:
    assert parse(line) is None


def test_a_retry_counts_as_one_request_and_two_tries() -> None:
    def said(name: str) -> float:
        lines = generate_latest(metrics.GATEWAY).decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    names = ("nexus_gateway_requests_total", "nexus_gateway_upstream_tries_total", "nexus_gateway_retries_total")
    before = [said(name) for name in names]
    Counter().datagram_received(HEAD + b"200 1.004 504, 200;1.001, 0.003", None)
    assert [said(name) - was for name, was in zip(names, before, strict=True)] == [1, 2, 1]
