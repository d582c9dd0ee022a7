// A client of the chat. Its session survives a lost connection (PROTOCOL.md, "Chat", by length).

import { concat, random, readVarint, utf8, varint } from "/bytes.js";
import { Connection, errorParts } from "/connection.js";
import { count, milliseconds } from "/shown.js";
import { Figures, Log, button, composer, el } from "/ui.js";

export const name = "Chat";
export const summary = "Chat with the server. Each message is acknowledged when the other side has shown it.";

const KEEPALIVE = 5000;
const MAX_BODY = 1024 * 1024;
const MAX_WAITING = 100;
const PART = 64 * 1024;
/** Bytes of parts that may be unanswered. */
const WINDOW = 256 * 1024;
const PART_OVERHEAD = 32;
const BEGIN = 1, RESUME = 2, WELCOME = 3, MORE = 4, LAST = 5, PART_RECEIVED = 6, ACKNOWLEDGED = 7, BYE = 8, ERROR = 0xff;
const RETRY = ["full", "truncated", "handshake-timeout", "idle-timeout"];
const WORDS = {
  busy: "The server is talking with another client. It talks with one client at a time.",
  "unknown-session": "The server no longer has this chat. Messages without an acknowledgement may be lost.",
};

export function start(app) {
  let session, waiting, nextId, read, incoming, incomingBytes, unanswered, unansweredBytes, welcomed, everWelcomed, over;
  const figures = new Figures();
  const log = new Log("Conversation", "Nothing yet. Say hello.");
  const notice = el("p", { class: "notice", role: "alert" });
  const again = button("Start a new chat", fresh);
  const leave = button("Leave", bye, "quiet");
  const panel = el("div", { class: "panel", hidden: true }, notice, again);
  const times = [];
  const connection = new Connection({ opened, received, refused, lost, leaving, retries: () => !over }, KEEPALIVE);

  /** Starts a new session. */
  function fresh() {
    const hadFocus = document.activeElement === again;
    session = random(8);
    waiting = [];
    nextId = 1;
    read = 0;
    everWelcomed = over = false;
    forget();
    panel.hidden = true;
    leave.hidden = false;
    if (hadFocus) {
      app.querySelector("textarea").focus();
    }
    show();
    connection.open();
  }

  /** Forgets what belongs to one connection. */
  function forget() {
    incoming = [];
    incomingBytes = 0;
    unanswered = [];
    unansweredBytes = 0;
    welcomed = false;
  }

  function opened() {
    const request = everWelcomed ? [Uint8Array.of(RESUME), session, varint(read)] : [Uint8Array.of(BEGIN), session];
    connection.send(...request);
  }

  function submit(text) {
    const body = utf8(text);
    if (over) {
      return "The chat has ended. Start a new one.";
    }
    if (body.length > MAX_BODY) {
      return `This message has ${count(body.length, "byte")}. The most are ${count(MAX_BODY, "byte")}.`;
    }
    if (waiting.length >= MAX_WAITING) {
      return `${MAX_WAITING} messages are not acknowledged. Wait until one is.`;
    }
    const row = log.add("sent", "You", body);
    row.state("waiting", "not acknowledged");
    waiting.push({ id: nextId++, body, row, sent: 0, at: 0, isSent: false });
    pump();
    show();
  }

  /** Sends parts of the waiting messages, as many as the limit of unanswered bytes permits. */
  function pump() {
    for (const message of welcomed ? waiting : []) {
      while (!message.isSent) {
        const part = message.body.subarray(message.at, message.at + PART);
        if (unanswered.length > 0 && unansweredBytes + part.length + PART_OVERHEAD > WINDOW) {
          return;
        }
        const isLast = message.at + part.length === message.body.length;
        if (!connection.send(Uint8Array.of(isLast ? LAST : MORE), varint(message.id), part)) {
          return;
        }
        message.sent = message.at === 0 ? performance.now() : message.sent;
        message.at += part.length;
        message.isSent = isLast;
        unanswered.push({ id: message.id, isLast, size: part.length + PART_OVERHEAD });
        unansweredBytes += part.length + PART_OVERHEAD;
      }
    }
  }

  function received(bytes) {
    const kind = bytes[0];
    if (kind === ERROR) {
      refused(...errorParts(bytes.subarray(1)));
      return;
    }
    try {
      const [id, rest] = readVarint(bytes.subarray(1));
      if (kind === WELCOME && !welcomed) {
        welcome(id);
      } else if (welcomed && (kind === MORE || kind === LAST)) {
        part(kind, id, rest);
      } else if (welcomed && (kind === PART_RECEIVED || kind === ACKNOWLEDGED)) {
        answer(kind, id);
      } else {
        throw new Error("the server does not speak the chat's protocol");
      }
    } catch (error) {
      finish(`Ended: ${error.message}.`);
    }
    show();
  }

  function welcome(id) {
    if (everWelcomed) {
      log.add("note", "Connected again. The chat continues.");
    }
    welcomed = everWelcomed = true;
    connection.proven();
    while (waiting.length > 0 && waiting[0].id <= id) {
      waiting.shift().row.state("done", "acknowledged");
    }
    for (const message of waiting) {
      message.at = 0;
      message.isSent = false;
    }
    pump();
  }

  function part(kind, id, bytes) {
    if (id > read + 1 || incomingBytes + bytes.length > MAX_BODY) {
      throw new Error("the server broke a rule of the protocol");
    }
    if (kind === LAST && id === read + 1) {
      log.add("received", "Server", concat(...incoming, bytes));
      read = id;
    } else if (kind === MORE) {
      incoming.push(bytes);
      incomingBytes += bytes.length;
    }
    if (kind === LAST) {
      incoming = [];
      incomingBytes = 0;
    }
    connection.send(Uint8Array.of(kind === LAST ? ACKNOWLEDGED : PART_RECEIVED), varint(id));
  }

  function answer(kind, id) {
    const first = unanswered.shift();
    if (first?.id !== id || first.isLast !== (kind === ACKNOWLEDGED)) {
      throw new Error("the server acknowledged a message that was not sent");
    }
    unansweredBytes -= first.size;
    if (first.isLast) {
      const message = waiting.shift();
      const time = performance.now() - message.sent;
      message.row.state("done", `acknowledged after ${milliseconds(time)}`);
      times.push(time);
      times.splice(0, times.length - 1000);
    }
    pump();
  }

  function refused(code, text) {
    const retries = RETRY.includes(code) || (code === "busy" && welcomed) || (code === "shutting-down" && !welcomed);
    if (retries) {
      log.add("error", `Error ${code}`, utf8(text));
      connection.restart(code);
      return;
    }
    finish(WORDS[code] ?? `The server ended the chat: ${code} ${text}`, code === "busy" ? "Busy" : `Ended: ${code}`);
  }

  function lost() {
    if (welcomed) {
      log.add("note", "The connection was lost.");
    }
    forget();
    for (const { row } of waiting) {
      row.state("waiting", "waiting for a connection");
    }
  }

  /** Ends the session. */
  function finish(text, status = "Ended", state = "refused") {
    over = true;
    for (const { row } of waiting) {
      row.state("failed", "not acknowledged: may or may not have arrived");
    }
    waiting = [];
    forget();
    connection.end(status, state);
    notice.textContent = text;
    again.textContent = everWelcomed ? "Start a new chat" : "Try again";
    panel.hidden = false;
    leave.hidden = true;
    show();
  }

  function leaving() {
    if (welcomed) {
      connection.send(Uint8Array.of(BYE));
    }
  }

  function bye() {
    leaving();
    finish("You left the chat.", "Left", "idle");
    again.focus();
  }

  function show() {
    const sorted = [...times].sort((one, other) => one - other);
    figures.set("Not acknowledged", String(waiting.length));
    figures.set("Last round trip", times.length > 0 ? milliseconds(times.at(-1)) : "–");
    figures.set("Median", times.length > 0 ? milliseconds(sorted[Math.floor((sorted.length - 1) / 2)]) : "–");
  }

  log.element.querySelector(".section-head").append(leave);
  app.append(panel, log.element, composer("Message", submit), figures.element);
  fresh();
}
