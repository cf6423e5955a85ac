"""A dashboard in a terminal on another machine: the AUs of everybody, from the messages of an MQTT broker.

    aunet live 0 --sink mqtt://BROKER/aunet            # on the device
    python examples/mqtt_dashboard.py BROKER [aunet]   # anywhere

`--sink "mqtt://BROKER/aunet?home_assistant=true"` makes the device known to Home Assistant, without this script.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import paho.mqtt.client as mqtt
from rich.live import Live
from rich.table import Table


class Board:
    """The newest of every message."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.frame: dict[str, Any] = {"faces": []}
        self.status: dict[str, Any] = {}
        self.event = ""

    def take(self, topic: str, payload: bytes) -> None:
        kind = topic.rpartition("/")[2]
        if kind == "availability":
            self.event = payload.decode(errors="replace")
            return
        message = json.loads(payload)
        if kind == "frame":
            self.frame = message
        elif kind == "status":
            self.status = message
        elif kind == "event":
            self.event = f"person {message['face']}: {message['au']} {message['phase']}, peak {message['peak']:.2f}"

    def __rich__(self) -> Table:
        state, speed = self.status.get("state", "nothing heard yet"), self.status.get("fps")
        table = Table(title=f"{self.prefix}: {state}{'' if speed is None else f', {speed:.0f}/s'}", caption=self.event)
        table.add_column("person")
        table.add_column("active Action Units")
        for face in self.frame["faces"]:
            active = [f"{au} {value['probability']:.2f}" for au, value in face["aus"].items() if value["active"]]
            table.add_row(str(face["id"]), ", ".join(active))
        return table


def main() -> None:
    host, prefix = (sys.argv[1:3] + ["localhost", "aunet"][len(sys.argv[1:3]) :])[:2]
    board = Board(prefix)
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.on_connect = lambda c, *_: c.subscribe(f"{prefix}/#")  # also after a reconnect
    client.on_message = lambda _c, _u, message: board.take(message.topic, message.payload)
    client.connect(host)
    with Live(get_renderable=board.__rich__, refresh_per_second=5):
        try:
            client.loop_forever()
        except KeyboardInterrupt:
            client.disconnect()


if __name__ == "__main__":
    main()
