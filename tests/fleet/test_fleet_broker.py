"""The fleet's own broker settings in a real Mosquitto: TLS, one password a box, an access list, loggers in a group."""

import os
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from broker import eventually, free_port, make_record, wait_for_port
from postgres import PostgreSQL

from edge.mqtt.publisher import MqttSettings, Publisher
from edge.outbox.queue import Outbox

ROOT = Path(__file__).resolve().parents[2]
FLEET = ROOT / "fleet"
USERS = ("box-1", "box-2", "logger", "web")


class Fleet:
    """The broker; `folder` holds its files as /etc/mosquitto/leukoscope does."""

    def __init__(self, folder: Path):
        self.folder, self.port = folder, free_port()

    def client(self, user: str, **events: object) -> paho.Client:
        """A connected client."""
        client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=f"test-{user}", protocol=paho.MQTTv5)
        client.tls_set(str(self.folder / "authority.crt"))
        client.username_pw_set(user, f"{user}'s password")
        for name, event in events.items():
            setattr(client, name, event)
        client.connect("127.0.0.1", self.port)
        client.loop_start()
        return client

    def settings(self, user: str) -> MqttSettings:
        """As a box has them."""
        password = self.folder / f"{user}.password"
        password.write_text(f"{user}'s password\n")
        return MqttSettings(
            host="127.0.0.1",
            port=self.port,
            username=user,
            password_file=str(password),
            ca_file=str(self.folder / "authority.crt"),
        )


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    program = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
    passwd = shutil.which("mosquitto_passwd")
    if program is None or passwd is None or shutil.which("openssl") is None:
        pytest.skip("mosquitto or openssl is not installed")
    made = Fleet(tmp_path / "private")
    subprocess.run([FLEET / "certificates.sh", made.folder, "127.0.0.1", "localhost"], check=True, timeout=60)
    shutil.copy(FLEET / "mosquitto" / "acl", made.folder)
    for user in USERS:
        created = [] if (made.folder / "passwords").exists() else ["-c"]
        subprocess.run(
            [passwd, "-b", *created, made.folder / "passwords", user, f"{user}'s password"], check=True
        )
    (made.folder / "acl").chmod(0o600)
    text = (FLEET / "mosquitto" / "leukoscope-fleet.conf").read_text()
    text = text.replace("/etc/mosquitto/leukoscope", str(made.folder)).replace("8883", str(made.port))
    own = f"persistence true\npersistence_location {tmp_path}/\nuser root\n"
    (tmp_path / "mosquitto.conf").write_text(own + text)
    broker = subprocess.Popen([program, "-c", tmp_path / "mosquitto.conf"], stderr=subprocess.PIPE)
    try:
        wait_for_port(made.port, broker)
        yield made
    finally:
        broker.terminate()
        broker.communicate(timeout=20)


def test_a_box_writes_below_its_own_name_alone(fleet: Fleet, tmp_path: Path) -> None:
    received: list[str] = []
    subscribed: list[int] = []
    reader = fleet.client(
        "logger",
        on_connect=lambda client, *_: client.subscribe("leukoscope/+/cells", qos=1),
        on_subscribe=lambda *_: subscribed.append(1),
        on_message=lambda _c, _u, message: received.append(message.topic),
    )
    eventually(lambda: subscribed)
    outbox = Outbox(tmp_path / "outbox.db")
    outbox.accept(make_record(device="box-1"))
    box = Publisher(fleet.settings("box-1"), "box-1", outbox)
    box.start()
    eventually(lambda: received)
    assert outbox.wait_empty(20)
    box.stop(5)
    outbox.close()
    refused: list[int] = []
    foreign = fleet.client("box-2", on_publish=lambda _c, _u, _m, reason, _p: refused.append(reason.value))
    eventually(foreign.is_connected)
    foreign.publish("leukoscope/box-1/cells", b"{}", qos=1)
    eventually(lambda: refused)
    assert refused == [0x87]  # not authorized
    assert set(received) == {"leukoscope/box-1/cells"}
    reader.loop_stop()
    foreign.loop_stop()


def test_a_stranger_is_refused(fleet: Fleet) -> None:
    reasons: list[bool] = []
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="stranger")
    client.tls_set(str(fleet.folder / "authority.crt"))
    client.on_connect = lambda _c, _u, _f, reason, _p: reasons.append(reason.is_failure)
    client.connect("127.0.0.1", fleet.port)
    client.loop_start()
    eventually(lambda: reasons)
    client.loop_stop()
    assert reasons[0]


def test_two_loggers_of_a_group_store_each_result_once(fleet: Fleet, tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    database = PostgreSQL().start()
    password = tmp_path / "logger.password"
    password.write_text("logger's password\n")
    address = database.address.replace("postgresql://postgres@", "postgresql://postgres:${DB_PASSWORD}@")
    loggers = []
    outbox = Outbox(tmp_path / "outbox.db")
    box = Publisher(fleet.settings("box-1"), "box-1", outbox)
    try:
        for number in range(2):
            environment = os.environ | {
                "PYTHONPATH": str(ROOT),
                "DB_PASSWORD": "anything",
                "STATE_DIRECTORY": str(tmp_path / f"state-{number}"),
            }
            (tmp_path / f"state-{number}").mkdir()
            command = [
                *(sys.executable, "-m", "edge", "log", "--broker", f"mqtts://logger@127.0.0.1:{fleet.port}"),
                *("--password-file", password, "--ca-file", fleet.folder / "authority.crt"),
                *("--to", address, "--group", "fleet"),
            ]
            log = (tmp_path / f"log-{number}").open("wb")
            loggers.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
        box.start()
        for _ in range(200):
            outbox.accept(make_record(device="box-1"))
        outbox.flush()

        def stored() -> int:
            try:
                ((count,),) = database.query("SELECT count(*) FROM cells")
            except Exception:  # the table is not made yet
                return 0
            return int(count)

        deadline = time.monotonic() + 60
        while stored() < 200:
            said = [(tmp_path / f"log-{number}").read_text()[-1000:] for number in range(2)]
            assert time.monotonic() < deadline, said
            time.sleep(0.2)
        assert database.query("SELECT count(DISTINCT sequence), max(sequence) FROM cells") == [(200, 200)]
    finally:
        box.stop(5)
        outbox.close()
        for logger in loggers:
            logger.terminate()
        for logger in loggers:
            assert logger.wait(30) == 0
        database.stop()


def command_of(unit: str, values: dict[str, str], instance: str = "") -> list[str]:
    """What a unit of fleet/units starts, with the values that its settings file gives."""
    text = (FLEET / "units" / unit).read_text()
    start = next(line for line in text.splitlines() if line.startswith("ExecStart="))
    words = start.removeprefix("ExecStart=/opt/leukoscope/current/venv/bin/leukoscope ").replace(
        "%i", instance
    )
    for name, value in values.items():
        words = words.replace(f"${{{name}}}", value)
    assert "${" not in words.replace("${DB_PASSWORD}", "")
    return [sys.executable, "-m", "edge", *words.split()]


def test_the_whole_server_as_its_units_start_it(fleet: Fleet, tmp_path: Path) -> None:
    """A box over TLS, two loggers of a group into PostgreSQL, the box's page over https, all of them as plain processes."""
    for package in ("psycopg", "starlette", "httpx"):
        pytest.importorskip(package)
    import httpx

    for user in ("logger", "web", "box-1", "page"):
        (tmp_path / f"{user}.password").write_text(f"{user}'s password\n")
    page = free_port()
    database = PostgreSQL().start()
    to = database.address.replace("postgres@", "postgres:${DB_PASSWORD}@")
    connection = (
        f'[mqtt]\nhost = "localhost"\nport = {fleet.port}\nca_file = "{fleet.folder}/authority.crt"\n'
        'username = "{0}"\npassword_file = "' + str(tmp_path) + '/{0}.password"\n'
    )
    (tmp_path / "box.toml").write_text(
        f'[device]\nid = "box-1"\n[camera]\nsource = "files:{ROOT}/samples/cells"\n[outbox]\nfile = "{tmp_path}/outbox.db"\n'
        + connection.format("box-1")
    )
    (tmp_path / "box-1.toml").write_text(
        f'[device]\nid = "box-1"\n[web]\nlisten = "127.0.0.1:{page}"\ndatabase = "{to}"\n'
        f'password_file = "{tmp_path}/page.password"\n'
        f'cert_file = "{fleet.folder}/broker.crt"\nkey_file = "{fleet.folder}/broker.key"\n'
        + connection.format("web")
    )
    values = {
        "LEUKOSCOPE_BROKER": f"mqtts://logger@localhost:{fleet.port}",
        "LEUKOSCOPE_PASSWORD_FILE": str(tmp_path / "logger.password"),
        "LEUKOSCOPE_CA_FILE": str(fleet.folder / "authority.crt"),
        "LEUKOSCOPE_TO": to,
    }
    commands = [command_of("leukoscope-fleet-log@.service", values)] * 2
    web = command_of("leukoscope-fleet-web@.service", {}, "box-1")
    commands.append(
        [str(tmp_path / "box-1.toml") if word.endswith("boxes/box-1.toml") else word for word in web]
    )
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for number, command in enumerate(commands):
            (tmp_path / f"state-{number}").mkdir()
            environment = os.environ | {
                "PYTHONPATH": str(ROOT),
                "DB_PASSWORD": "anything",
                "STATE_DIRECTORY": str(tmp_path / f"state-{number}"),
            }
            with (tmp_path / f"log-{number}").open("wb") as log:
                processes.append(
                    subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)
                )
        said = [tmp_path / f"log-{number}" for number in range(2)]
        eventually(lambda: all("subscribed" in log.read_text() for log in said), 60)
        run = [sys.executable, "-m", "edge", "run", "--config", tmp_path / "box.toml"]
        box = subprocess.run(
            run, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=90
        )
        assert box.returncode == 0, box.stderr
        eventually(lambda: database.query("SELECT count(*), max(sequence) FROM cells") == [(40, 40)], 60)
        authority = ssl.create_default_context(cafile=str(fleet.folder / "authority.crt"))
        with httpx.Client(
            base_url=f"https://localhost:{page}", verify=authority, trust_env=False, timeout=20
        ) as client:
            assert client.get("/api/cells").status_code == 401
            token = client.get("/login").text.partition('data-token="')[2].partition('"')[0]
            head = {"x-leukoscope-token": token}
            assert (
                client.post("/login", json={"password": "page's password"}, headers=head).status_code == 200
            )
            assert len(client.get("/api/cells").json()["cells"]) == 40
    finally:
        for process in processes:
            process.terminate()
        ended = [process.wait(30) for process in processes]
        database.stop()
    assert ended == [0, 0, 0]
