// A client of echo: sends messages, and acknowledges the messages of others.

import { after, key, utf8 } from "/bytes.js";
import { Connection, errorParts } from "/connection.js";
import { count, milliseconds } from "/shown.js";
import { Figures, Log, button, checkbox, composer } from "/ui.js";

export const name = "Echo";
export const summary =
  "The server forwards each message to a client chosen at random, perhaps to you. When that client acknowledges it, you receive its ok.";

const KEEPALIVE = 20_000;
const MAX_BODY = 1024 * 1024;
const MAX_WAITING = 100;
const MAX_HELD = 500;
const RETRY = ["too-many-waiting", "busy", "shutting-down", "full", "truncated", "handshake-timeout", "idle-timeout"];

export function start(app) {
  /** Messages without their ok, in the order in which they were sent. */
  const waiting = [];
  /** Messages from the server that are not acknowledged. */
  let held = [];
  let ended = false;
  const figures = new Figures();
  const log = new Log("Messages", "Nothing yet. Send a message, or wait for one from another client.");
  const [automatic, automaticLabel] = checkbox("Acknowledge received messages automatically", true);
  const all = button("Acknowledge all", () => [...held].forEach(acknowledge), "quiet");

  const connection = new Connection(
    { opened, received, refused, lost, retries: () => !ended },
    KEEPALIVE,
  );

  function opened() {
    // The server keeps nothing of a lost connection: its client sends again.
    waiting.forEach(transmit);
  }

  function transmit(message) {
    message.sent = performance.now();
    connection.send(utf8("message "), message.body);
    message.row.state("waiting", "waiting for its ok");
  }

  function submit(text) {
    const body = utf8(text);
    if (body.length > MAX_BODY) {
      return `This message has ${count(body.length, "byte")}. The most are ${count(MAX_BODY, "byte")}.`;
    }
    if (waiting.length >= MAX_WAITING) {
      return `${MAX_WAITING} messages wait for their ok. Wait until one is acknowledged.`;
    }
    const row = log.add("sent", "You sent", body);
    const message = { body, key: key(body), row, sent: 0 };
    waiting.push(message);
    if (connection.isOpen) {
      transmit(message);
    } else {
      row.state("waiting", "waiting for a connection");
    }
    show();
  }

  function received(bytes) {
    const message = after("message ", bytes);
    const ok = after("ok ", bytes);
    const error = after("error ", bytes);
    if (message !== null) {
      connection.proven();
      hold(message);
    } else if (ok !== null) {
      connection.proven();
      acknowledged(key(ok));
    } else if (error !== null) {
      refused(...errorParts(error));
    } else {
      ended = true;
      connection.end("The server does not speak echo", "refused");
    }
    show();
  }

  function hold(body) {
    const row = log.add("received", "Received", body);
    const message = { body, row, done: () => {} };
    if (automatic.checked) {
      acknowledge(message);
      return;
    }
    message.done = row.action("Acknowledge", "Acknowledge this message", () => acknowledge(message));
    row.state("waiting", "not acknowledged");
    held.push(message);
    if (held.length > MAX_HELD) {
      release(held.shift(), "failed", "can no longer be acknowledged here");
    }
  }

  function acknowledge(message) {
    if (connection.send(utf8("ok "), message.body)) {
      held = held.filter((other) => other !== message);
      release(message, "done", "acknowledged");
      show();
    }
  }

  function release(message, state, text) {
    message.row.state(state, text);
    message.done();
  }

  function acknowledged(body) {
    const at = waiting.findIndex((message) => message.key === body);
    if (at < 0) {
      return;
    }
    const [message] = waiting.splice(at, 1);
    const time = milliseconds(performance.now() - message.sent);
    message.row.state("done", `ok after ${time}`);
    figures.set("Last round trip", time);
  }

  function refused(code, text) {
    log.add("error", `Error ${code}`, utf8(text));
    if (code === "not-held") {
      return;
    }
    if (RETRY.includes(code)) {
      connection.restart(code);
    } else {
      ended = true;
      connection.end(`Ended: ${code}`, "refused");
    }
  }

  function lost() {
    for (const message of held) {
      release(message, "failed", "forwarded to another client: your connection was lost");
    }
    held = [];
    waiting.forEach((message) => message.row.state("waiting", "waiting for a connection"));
    show();
  }

  function show() {
    figures.set("Waiting for ok", String(waiting.length));
    figures.set("To acknowledge", String(held.length));
    all.disabled = held.length === 0;
  }

  automatic.addEventListener("change", () => automatic.checked && [...held].forEach(acknowledge));
  app.append(composer("Message", submit), automaticLabel, figures.element, log.element, all);
  log.element.querySelector(".section-head").append(all);
  figures.set("Last round trip", "–");
  show();
  connection.open();
}
