"""A broker of our own on any loopback address, IPv6 too; it ends with its block."""

import socket
from pathlib import Path

import pytest
from broker import eventually

from edge.errors import LeukoscopeError
from edge.mqtt.brokers.local import broker, free_port, listens
from edge.mqtt.publisher import Publisher
from edge.mqtt.settings import MqttSettings
from edge.outbox.queue import Outbox


@pytest.mark.parametrize("address", [None, "127.0.0.1", "[::1]"])
def test_a_broker_of_our_own_takes_records_and_ends_with_its_block(
    address: str | None, tmp_path: Path
) -> None:
    if address == "[::1]" and not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    with broker(address and f"{address}:{free_port()}", tmp_path) as (host, port):
        outbox = Outbox(tmp_path / "outbox.db")
        publisher = Publisher(MqttSettings(host=host, port=port), "box", outbox)
        publisher.start()
        eventually(publisher.connected.is_set)
        publisher.stop(5)
        outbox.close()
        with broker(f"{address or '127.0.0.1'}:{port}", tmp_path) as there:  # one that is there is used
            assert there == (host, port)
        assert listens(host, port)
    assert not listens(host, port)


def test_a_broker_elsewhere_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(LeukoscopeError, match="nothing listens there"), broker("192.0.2.1:1", tmp_path):
        pass
