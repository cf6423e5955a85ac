// The connection to the server: it comes back by itself, and says how it is doing.

const FIRST_PAUSE_S = 0.5;
const LONGEST_PAUSE_S = 8;

export class Link {
  #socket = null;
  #pause = FIRST_PAUSE_S;
  #timer = 0;
  #next = 1;
  #replies = new Map();

  // on: {message(object), picture(frame, source, blob), state("connecting" | "open" | "away", reason)}
  constructor(on) {
    this.on = on;
    this.#open();
  }

  get open() { return this.#socket?.readyState === WebSocket.OPEN; }

  #open() {
    clearTimeout(this.#timer);
    this.on.state("connecting", "");
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/live`);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    socket.onopen = () => { this.#pause = FIRST_PAUSE_S; this.on.state("open", ""); };
    socket.onmessage = ({ data }) => {
      if (typeof data === "string") this.#message(JSON.parse(data));
      else this.#picture(data);
    };
    socket.onclose = ({ code, reason }) => {
      this.#replies.forEach((fail) => fail({ error: "the connection was lost" }));
      this.#replies.clear();
      this.on.state("away", code === 1013 ? "too many open pages" : reason);
      this.#timer = setTimeout(() => this.#open(), 1000 * this.#pause * (0.8 + 0.4 * Math.random()));
      this.#pause = Math.min(LONGEST_PAUSE_S, 2 * this.#pause);
    };
  }

  #message(message) {
    if (message.type !== "reply") { this.on.message(message); return; }
    this.#replies.get(message.id)?.(message);
    this.#replies.delete(message.id);
  }

  #picture(data) {
    const head = new DataView(data, 0, 8);
    this.on.picture(head.getUint32(0), head.getUint16(4), new Blob([new Uint8Array(data, 8)], { type: "image/jpeg" }));
  }

  send(message) { if (this.open) this.#socket.send(JSON.stringify(message)); }

  // Resolves to {result} or {error}.
  command(name, args = {}) {
    if (!this.open) return Promise.resolve({ error: "not connected" });
    const id = this.#next++;
    return new Promise((resolve) => {
      this.#replies.set(id, resolve);
      this.send({ type: "command", id, name, arguments: args });
    });
  }
}
