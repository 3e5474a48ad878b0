"""Why there is no connection to the broker, and what to do about it."""

import socket
import ssl
from datetime import datetime, timezone

import msgspec

from edge.host.clock import synchronised
from edge.host.text import harmless

# X509_V_ERR_… of OpenSSL.
_NOT_YET_VALID, _EXPIRED = 9, 10
_UNKNOWN_AUTHORITY = (2, 18, 19, 20, 21)
_OTHER_NAME = (62, 64)
# Reason codes of MQTT 5; paho gives those of 3.1.1 the same numbers.
_UNSPECIFIED, _BAD_CLIENT_ID, _BAD_PASSWORD, _NOT_AUTHORISED, _BANNED, _TAKEN_OVER = (
    128,
    133,
    134,
    135,
    138,
    142,
)
_KEEPALIVE_TIMEOUT, _TOO_LARGE = 141, 149
ALERT_TIMEOUT_S = 2.0
# What the broker objects to in this box's certificate, in OpenSSL's words.
_ALERTS = {
    "certificate expired": "this box's certificate has expired; renew [mqtt] cert_file",
    "unknown ca": "the broker does not know the authority (CA) of this box's certificate; have [mqtt] cert_file "
    "signed by a CA that it trusts",
    "certificate required": "the broker wants a certificate of this box; set [mqtt] cert_file and key_file",
    "handshake failure": "the broker ends the handshake; it may want a certificate: [mqtt] cert_file and key_file",
    "certificate revoked": "this box's certificate was revoked; get another for [mqtt] cert_file",
    "bad certificate": "the broker refuses this box's certificate; see [mqtt] cert_file",
    "certificate unknown": "the broker refuses this box's certificate; see [mqtt] cert_file",
}


class Fault(msgspec.Struct, frozen=True):
    """What is wrong.

    Attributes:
        text: in words; the same as long as the same is wrong.
        needs_person: whether trying again soon cannot help.
        closed: whether the broker has closed a connection that it had accepted.
        too_large: whether it reported that a packet was too large.
        clock: what this box's clock says, where that matters.
    """

    text: str
    needs_person: bool = False
    closed: bool = False
    too_large: bool = False
    clock: str = ""

    def said(self) -> str:
        """In words, for a person."""
        return f"{self.text} ({self.clock})" if self.clock else self.text


def of_connecting(error: Exception, host: str, port: int, tls: bool) -> Fault:
    """Why TCP or TLS could not be set up."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _of_certificate(error, host)
    if isinstance(error, ssl.SSLError):
        return of_alert(str(error)) or Fault(
            f"cannot connect: no TLS on port {port} ({error.reason or error}); is it the right port?", True
        )
    if tls and isinstance(error, ConnectionError) and not isinstance(error, ConnectionRefusedError):
        return Fault(
            f"cannot connect: no TLS on port {port} (it closes the handshake); is it the right port?", True
        )
    if isinstance(error, socket.gaierror):
        return Fault(f"cannot connect: the name {host} is not known ({error.strerror}); see [mqtt] host")
    if isinstance(error, ConnectionRefusedError):
        return Fault(f"cannot connect: nothing listens on port {port} of {host}: is the broker running?")
    return Fault(f"cannot connect: {error}")


def _of_certificate(error: ssl.SSLCertVerificationError, host: str) -> Fault:
    now = f"this box's clock says {datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC"
    if not synchronised():
        now += ", not synchronised"
    if error.verify_code in _OTHER_NAME:
        return Fault(
            f"wrong host name: the broker's certificate is not for {host}; set [mqtt] host to a name in it",
            True,
        )
    if error.verify_code == _EXPIRED:
        return Fault("expired certificate: the broker's has expired; renew it there", True, clock=now)
    if error.verify_code == _NOT_YET_VALID:  # NTP may correct the clock, so try again soon
        return Fault("certificate not yet valid: the broker's begins later", clock=now)
    if error.verify_code in _UNKNOWN_AUTHORITY:
        return Fault(
            "wrong CA: the broker's certificate is signed by an authority (CA) that is not in [mqtt] ca_file "
            f"({error.verify_message})",
            True,
        )
    return Fault(f"the broker's certificate is refused: {error.verify_message}", True)


def of_alert(text: str) -> Fault | None:
    """What the broker objects to in this box's certificate, if `text` (of OpenSSL) names it."""
    words = text.lower().replace("_", " ")
    for alert, meaning in _ALERTS.items():
        if alert in words:
            return Fault(f"certificate refused: {meaning}", True)
    return None


def ask_for_alert(context: ssl.SSLContext, host: str, port: int) -> Fault | None:
    """Why a broker closed after the TLS handshake: shake hands once more, say nothing and listen.

    TLS 1.3 checks our certificate after the handshake; if a CONNECT is under way then, the broker's alert may be
    lost.
    """
    try:
        with (
            socket.create_connection((host, port), timeout=ALERT_TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname=host) as secured,
        ):
            secured.recv(1)
    except OSError as error:
        return of_alert(str(error))
    return None


def of_refusal(value: int, reason: str, username: str) -> Fault:
    """What the broker's answer to CONNECT means.

    Args:
        value: the reason code.
        reason: its name.
        username: the one that was given, "" for none.
    """
    told = f"refuses the connection: {reason}"
    if value in (_BAD_PASSWORD, _NOT_AUTHORISED) and not username:
        return Fault(f"{told}: it wants a user name; set [mqtt] username and password_file", True)
    if value == _BAD_PASSWORD:
        return Fault(f"{told}: see [mqtt] username ({username}) and password_file", True)
    if value == _NOT_AUTHORISED:  # Mosquitto's answer to a wrong password too
        return Fault(
            f"{told}: wrong password, or user {username} may not connect; see [mqtt] username, password_file",
            True,
        )
    return Fault(told, value in (_BAD_CLIENT_ID, _BANNED))


def of_network_thread(error: Exception) -> Fault:
    """What ended the thread that reads from the broker, or what it could not do."""
    return Fault(f"what the broker sends cannot be read: {type(error).__name__}: {harmless(error)}")


def of_loss(value: int, reason: str, client_id: str) -> Fault:
    """What ended a connection that had been accepted."""
    if value == _TAKEN_OVER:
        return Fault(
            f"connection lost: another client came with the id {client_id}; every [device] id must differ",
            True,
        )
    if value == _UNSPECIFIED:  # paho's word for the end of TCP without a DISCONNECT
        return Fault("connection lost: the broker or the network went away", closed=True)
    told = f"connection lost: {reason}"
    return Fault(told, closed=value != _KEEPALIVE_TIMEOUT, too_large=value == _TOO_LARGE)
