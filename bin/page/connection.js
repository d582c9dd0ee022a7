// A connection to the server that served this page. It is opened again after a loss, with growing pauses.

import { after, ascii, concat, utf8 } from "/bytes.js";
import { shownText } from "/shown.js";

const FIRST_PAUSE = 100;
const LONGEST_PAUSE = 5000;
/** The connection must be established within this time, in milliseconds. */
const CONNECT_TIMEOUT = 10_000;
/** More waits to be sent: the page sends nothing further. */
const MAX_BUFFERED = 16 * 1024 * 1024;

const NAMES = {
  1000: "closed cleanly", 1001: "the server stops", 1002: "broken rule of the protocol", 1006: "connection lost",
  1007: "text that is not UTF-8", 1008: "refused", 1009: "message too long", 1013: "try again later",
};

/**
 * What `handlers` has: `opened()`, `received(bytes)`, `refused(code, text)` for an error line before anything was sent,
 * `lost()` after each end of an open connection that the page did not end, `retries()`: whether the connection is opened again,
 * and perhaps `leaving()` before the page is left.
 */
export class Connection {
  #handlers;
  #keepalive;
  #socket = null;
  #wasOpen = false;
  #step = FIRST_PAUSE;
  #timers = [];
  #status = document.querySelector("#status");
  #button = document.querySelector("#connect");

  constructor(handlers, keepalive) {
    this.#handlers = handlers;
    this.#keepalive = keepalive;
    this.#button.addEventListener("click", () => this.open());
    addEventListener("online", () => this.#timers.length > 0 && !this.isOpen && this.open());
    addEventListener("pagehide", () => {
      this.#handlers.leaving?.();
      this.#socket?.close(1000);
    });
    addEventListener("pageshow", (event) => event.persisted && this.#handlers.retries() && this.open());
  }

  get isOpen() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  /** Opens the connection, at once. */
  open() {
    this.#forget();
    this.#show("waiting", "Connecting…");
    const url = new URL("/", location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(url, "echosphere");
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    this.#timers.push(setTimeout(() => this.#ended(socket, 1006, "no connection within 10 s"), CONNECT_TIMEOUT));
    socket.onopen = () => this.#opened(socket);
    socket.onmessage = ({ data }) => this.#received(socket, data);
    socket.onclose = ({ code, reason }) => this.#ended(socket, code, reason);
  }

  /** Sends a payload of length framing. Returns whether the connection took it. */
  send(...parts) {
    if (!this.isOpen || this.#socket.bufferedAmount > MAX_BUFFERED) {
      return false;
    }
    this.#socket.send(concat(...parts));
    return true;
  }

  /** The server has sent a message of its protocol: the next pause is the shortest. */
  proven() {
    this.#step = FIRST_PAUSE;
  }

  /** Ends this connection and opens another one after a pause. */
  restart(reason) {
    this.#ended(this.#socket, 1000, reason);
  }

  /** Ends the connection for good, and shows why. */
  end(reason, state = "idle") {
    this.#forget();
    this.#show(state, reason);
    this.#button.hidden = true;
  }

  #opened(socket) {
    this.#clearTimers();
    this.#wasOpen = true;
    this.#timers.push(setInterval(() => this.send(new Uint8Array()), this.#keepalive));
    this.#show("open", "Connected");
    socket.send(new Uint8Array());
    this.#handlers.opened();
  }

  #received(socket, data) {
    if (socket !== this.#socket) {
      return;
    }
    if (typeof data !== "string") {
      const bytes = new Uint8Array(data);
      if (bytes.length > 0) {
        this.#handlers.received(bytes);
      }
      return;
    }
    // A line: the server sends it before it has received anything.
    const error = after("error ", utf8(data));
    if (error !== null) {
      this.#handlers.refused(...errorParts(error));
    }
  }

  #ended(socket, code, reason) {
    if (socket !== this.#socket || socket === null) {
      return;
    }
    const wasOpen = this.#wasOpen;
    this.#forget();
    if (wasOpen) {
      this.#handlers.lost();
    }
    const why = `${NAMES[code] ?? "closed"} (${code})${reason === "" ? "" : `: ${shownText(reason)}`}`;
    if (!this.#handlers.retries()) {
      if (this.#status.dataset.state !== "refused") {
        this.#show("idle", `Ended: ${why}`);
      }
      return;
    }
    const pause = this.#step * (0.5 + Math.random() / 2);
    this.#step = Math.min(2 * this.#step, LONGEST_PAUSE);
    this.#show("waiting", `Reconnecting… ${why}`);
    this.#button.hidden = false;
    this.#timers.push(setTimeout(() => this.open(), pause));
  }

  #forget() {
    this.#clearTimers();
    const socket = this.#socket;
    this.#socket = null;
    this.#wasOpen = false;
    if (socket !== null) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close(1000);
    }
  }

  #clearTimers() {
    for (const timer of this.#timers) {
      clearTimeout(timer);
    }
    this.#timers = [];
  }

  #show(state, text) {
    this.#button.hidden = true;
    if (this.#status.textContent !== text) {
      this.#status.textContent = text;
    }
    this.#status.dataset.state = state;
  }
}

/** The code and the text of an error: `<code> <text>`. */
export function errorParts(bytes) {
  const [, code, text] = /^(\S*) ?(.*)$/s.exec(ascii(bytes.subarray(0, 600)));
  return [code, shownText(text)];
}
