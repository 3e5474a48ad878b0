"""The embedded broker of the demo, for machines without Mosquitto: amqtt, MQTT 3.1.1 on loopback."""

import asyncio
import logging
import signal
import sys

from edge.errors import LeukoscopeError


async def serve(host: str, port: int) -> None:
    """Serve until SIGTERM.

    Raises:
        LeukoscopeError: amqtt is not installed.
    """
    try:
        from amqtt.broker import Broker
    except ImportError as error:
        raise LeukoscopeError(
            "no broker: install mosquitto (apt install mosquitto) or pip install 'leukoscope[demo]'"
        ) from error
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"{host}:{port}"}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
    )
    await broker.start()
    await stop.wait()
    await broker.shutdown()


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    try:
        asyncio.run(serve(sys.argv[1], int(sys.argv[2])))
    except LeukoscopeError as failure:
        sys.exit(f"leukoscope: {failure}")
