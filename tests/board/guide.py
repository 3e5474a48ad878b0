"""The commands of docs/install.md on the board, as they stand there; `sudo` and an editor it has not."""

from pathlib import Path

from tests.board.machine import Board, BoardError

GUIDE = Path(__file__).parents[2] / "docs" / "install.md"

COMMANDS = {
    "leukoscope check --config /etc/leukoscope/leukoscope.toml": "",
    "systemctl status leukoscope": " --no-pager | grep 'active (running)'",
    "mosquitto_sub -t 'leukoscope/#' -v": " -C 4 -W 120",
    "mosquitto_sub -t 'leukoscope/+/health' -C 1": " | grep restarts",
    "leukoscope results sqlite:////var/lib/leukoscope-log/results.db": " | grep .",
    "journalctl -u leukoscope -e": " --no-pager | grep ready",
    "journalctl LEUKOSCOPE_EVENT=restart": " --no-pager -o cat | grep .",
    "timedatectl": " | grep synchronized",
    "install -m 640 -g leukoscope /dev/null /etc/leukoscope/password": "",
}
"""Command → what is added here, so that it ends and its answer is looked at."""

# An authority, and certificates of the broker and of one that reads.
CERTIFICATES = """cd /etc/mosquitto/certs
new="openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30"
$new -keyout authority.key -out authority.pem -subj /CN=authority
for name in box reader; do
  $new -CA authority.pem -CAkey authority.key -keyout $name.key -out $name.pem -subj /CN=$name \\
    -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE
done"""
READ = "cd /etc/mosquitto/certs && mosquitto_sub -h localhost -p 8883 --cafile authority.pem -t 'leukoscope/#' -C 2 -W 120"


def follow(board: Board) -> str:
    """Run them; gives how many.

    Raises:
        BoardError: one failed, or the guide has it no longer.
    """
    guide = GUIDE.read_text()
    for command, addition in COMMANDS.items():
        if command not in guide:
            raise BoardError(f"docs/install.md has no {command!r}")
        board.run(command + addition, 300)
    return f"{len(COMMANDS)} commands; {other_machines(board)}; {metrics(board)}; {other_folder(board)}"


def block(begin: str) -> list[str]:
    """The lines of the guide from one that begins so to the end of its block."""
    lines = [line.strip() for line in GUIDE.read_text().splitlines()]
    first = next(number for number, line in enumerate(lines) if line.startswith(begin))
    return lines[first : lines.index("```", first)]


def typed(begin: str) -> list[str]:
    """The commands of such a block, but for the editor's."""
    commands = [line.removeprefix("$ ").replace("sudo ", "") for line in block(begin)]
    return [command for command in commands if not command.startswith("nano")]


def other_machines(board: Board) -> str:
    """The broker for other machines, with TLS and certificates."""
    board.run(CERTIFICATES)
    for command in typed("$ sudo chown mosquitto:"):
        board.run(command)
    listener = "\n".join(block("listener 8883"))
    board.run(f"cat >/etc/mosquitto/conf.d/others.conf <<'END'\n{listener}\nEND\nsystemctl restart mosquitto")
    board.run(f"{READ} --cert reader.pem --key reader.key", 300)
    if board.run(READ, 300, check=False).stdout:
        raise BoardError("the broker gives results to everybody")
    return "the broker read over TLS with a certificate, refused without"


def metrics(board: Board) -> str:
    """Figures for Prometheus."""
    board.run("echo 'LEUKOSCOPE_OPTIONS=--metrics 127.0.0.1:9108' >/etc/leukoscope/environment")
    board.run("systemctl restart leukoscope", 900)
    read = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9108/metrics').read().decode())"
    figures = board.out(f'python3 -c "{read}" | grep -c ^leukoscope')
    return f"{figures} figures for Prometheus"


def other_folder(board: Board) -> str:
    """Pictures kept in a folder of one's own."""
    board.run(
        "mkdir -p /srv/pictures && chown leukoscope: /srv/pictures\n"
        "mkdir -p /etc/systemd/system/leukoscope.service.d\n"
        "printf '[Service]\\nReadWritePaths=/srv/pictures\\n' >/etc/systemd/system/leukoscope.service.d/override.conf\n"
        "sed -i '/^.archive/,$d' /etc/leukoscope/leukoscope.toml\n"
        'printf \'\\n[archive]\\ndirectory = "/srv/pictures"\\nkeep = "all"\\n\' >>/etc/leukoscope/leukoscope.toml\n'
        "systemctl daemon-reload"
    )
    board.run("systemctl restart leukoscope", 900)
    board.wait_for("[ $(find /srv/pictures -type f | wc -l) -ge 3 ]", 300)
    return "pictures kept in a folder elsewhere"
