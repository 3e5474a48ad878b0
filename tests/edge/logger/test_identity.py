"""The logger's client id: the same after a restart and another host name, never that of one that runs."""

import os
import socket
import threading
import time

import paho.mqtt.client as paho
import pytest
from broker import Mosquitto, eventually, free_port, make_record

import edge.logger.subscriber
from edge.errors import LeukoscopeError
from edge.logger.identity import LOGGER_ID, Identity, state_folder
from edge.logger.stores.sinks import open_sink
from edge.logger.subscriber import Subscriber
from edge.records import encode


def test_the_id_is_the_same_after_another_host_name_and_differs_by_what_it_does(tmp_path, monkeypatch):
    first = Identity("broker:1883", "sqlite:///r.db", folder=tmp_path)
    other = Identity("broker:1883", "sqlite:///other.db", folder=tmp_path)
    first.release()
    other.release()
    monkeypatch.setattr(socket, "gethostname", lambda: "renamed")
    again = Identity("broker:1883", "sqlite:///r.db", folder=tmp_path)
    assert again.client_id == first.client_id != other.client_id
    assert LOGGER_ID.match(first.client_id) and not first.client_id.startswith("leukoscope-")
    again.release()


def test_two_that_run_have_two_ids_even_if_the_file_of_the_first_is_removed(tmp_path):
    first = Identity("x", folder=tmp_path)
    second = Identity("x", folder=tmp_path)
    assert first.client_id != second.client_id
    for file in tmp_path.iterdir():
        file.unlink()
    third = Identity("x", folder=tmp_path)
    assert third.client_id not in (first.client_id, second.client_id)
    for identity in (first, second, third):
        identity.release()


def test_many_that_start_together_have_ids_of_their_own(tmp_path):
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(Identity("x", folder=tmp_path))) for _ in range(20)
    ]
    [t.start() for t in threads], [t.join() for t in threads]
    assert len({identity.client_id for identity in found}) == 20
    [identity.release() for identity in found]


def test_the_folder_is_systemds_or_this_users_and_forgotten_ids_are_removed(tmp_path, monkeypatch):
    assert state_folder().is_relative_to(os.environ["XDG_STATE_HOME"])
    monkeypatch.setenv("STATE_DIRECTORY", f"{tmp_path}/a:{tmp_path}/b")
    assert state_folder() == tmp_path / "a" / "loggers"
    old, used = Identity("old"), Identity("used")
    old.release()
    for file in state_folder().iterdir():
        os.utime(file, (0, 0))
    Identity("new").release()
    assert len(list(state_folder().iterdir())) == 2  # the old one has gone, the used one not
    used.release()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LeukoscopeError, match="XDG_STATE_HOME"):
        Identity("x", folder=tmp_path / "file" / "x")


def test_removed_files_in_temporary_and_state_folders_let_no_two_loggers_throw_each_other_out(
    tmp_path, caplog
):
    with Mosquitto(tmp_path, persistent=False) as broker:
        broker.start()
        url = f"mqtt://127.0.0.1:{broker.port}"
        target = f"sqlite:///{tmp_path / 'r.db'}"
        loggers = []
        for _ in range(2):
            loggers.append(Subscriber(url, open_sink(target)))
            loggers[-1].start()
            assert loggers[-1].subscribed.wait(40)
            for file in state_folder().glob("*"):
                file.unlink()
        time.sleep(2)
        assert [logger._connection.connections for logger in loggers] == [1, 1]
        for logger in loggers:
            logger.stop()
    assert not any("another client" in r.message for r in caplog.records)


class Slow:
    """A store that takes its time."""

    name = "slow"
    stored = 0
    closed = False
    pause_s = 0.5

    def store(self, records, _rejects, _fields):
        time.sleep(self.pause_s)
        self.stored += len(records)
        return [True] * len(records)

    def close(self):
        self.closed = True


def backlog(port, count):
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", port)
    client.loop_start()
    for info in [client.publish("leukoscope/box/cells", encode(make_record()), qos=1) for _ in range(count)]:
        info.wait_for_publish(40)
    client.disconnect()
    client.loop_stop()


@pytest.mark.parametrize("pause_s", [0.5, 60])
def test_a_stop_with_a_long_backlog_keeps_to_its_time_and_loses_nothing(tmp_path, monkeypatch, pause_s):
    monkeypatch.setattr(edge.logger.subscriber, "STOP_S", 1.0)
    monkeypatch.setattr(edge.logger.writer, "BATCH_LIMIT", 10)
    with Mosquitto(tmp_path, persistent=False) as broker:
        broker.start()
        url, sink = f"mqtt://127.0.0.1:{broker.port}", Slow()
        sink.pause_s = pause_s
        first = Subscriber(url, sink, client_id="leukolog-slow")
        first.start()
        assert first.subscribed.wait(40)
        backlog(broker.port, 600)
        eventually(lambda: len(first._inbox) > 300)
        began = time.monotonic()
        first.stop()
        assert time.monotonic() - began < 8
        assert sink.stored < 200 and sink.closed == (pause_s < 1)
        rest = Slow()
        rest.pause_s = 0
        second = Subscriber(url, rest, client_id="leukolog-slow")
        second.start()
        eventually(lambda: rest.stored >= 600 - sink.stored)
        second.stop()


def test_a_stop_without_a_broker_ends(tmp_path):
    subscriber = Subscriber(
        f"mqtt://127.0.0.1:{free_port()}", open_sink(str(tmp_path / "r.csv")), group="lab"
    )
    subscriber.start()
    assert subscriber.alive
    subscriber.stop()
    assert not subscriber.alive
