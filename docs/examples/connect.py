"""The options of these examples, and a client connected by them. Needs paho-mqtt 2."""

import argparse
import os
import sys
from pathlib import Path

import paho.mqtt.client as mqtt

PASSWORD_VARIABLE = "LEUKOSCOPE_MQTT_PASSWORD"


def parser(text, **broker):
    """A parser with the options of a connection; `text` tells what the program does, `broker` is for argparse."""
    options = argparse.ArgumentParser(description=text)
    options.add_argument("broker", metavar="HOST[:PORT]", **broker)
    options.add_argument(
        "--topic", default="leukoscope", help="[mqtt] topic of the boxes, default: %(default)s"
    )
    options.add_argument("--user", metavar="NAME")
    options.add_argument(
        "--password-file", type=Path, metavar="FILE", help=f"default: the environment's {PASSWORD_VARIABLE}"
    )
    options.add_argument("--ca-file", metavar="FILE", help="CA certificate of the broker; with it, TLS")
    options.add_argument(
        "--cert-file", metavar="FILE", help="this client's certificate, if the broker wants one"
    )
    options.add_argument("--key-file", metavar="FILE")
    return options


def client(options, on_connect, **callbacks):
    """A client with these callbacks, connected; `on_connect(client)` is called when the broker has accepted it."""
    made = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)

    def connected(_client, _userdata, _flags, reason, _properties):
        if reason.is_failure:
            sys.exit(f"the broker refuses the connection: {reason}")
        on_connect(made)

    made.on_connect = connected
    made.on_subscribe = lambda _client, _userdata, _mid, reasons, _properties: _check(reasons)
    for name, callback in callbacks.items():
        setattr(made, name, callback)
    if options.user:
        made.username_pw_set(options.user, _password(options))
    tls = bool(options.ca_file or options.cert_file)
    if tls:
        made.tls_set(options.ca_file, options.cert_file, options.key_file)
    host, port = _place(options.broker, 8883 if tls else 1883)
    try:
        made.connect(host, port)
    except OSError as error:
        sys.exit(f"no connection to {host}:{port}: {error}")
    return made


def _password(options):
    if options.password_file:
        return options.password_file.read_text(encoding="utf-8-sig").strip("\r\n")
    return os.environ.get(PASSWORD_VARIABLE)


def _place(text, default_port):
    """HOST, HOST:PORT, [IPv6] or [IPv6]:PORT as host and port."""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    else:
        host, _, port = text.partition(":")
    if not host or (port and not port.isdigit()):
        sys.exit(f"{text}: not of the form HOST[:PORT]")
    return host, int(port or default_port)


def _check(reasons):
    for reason in reasons:
        if reason.is_failure:
            sys.exit(f"the broker refuses the subscription: {reason}; see its access list")
