// A client of numbers: a stream that continues after a lost connection.

import { after, ascii, random, utf8 } from "/bytes.js";
import { Connection, errorParts } from "/connection.js";
import { count } from "/shown.js";
import { Figures, Log, button, el, field } from "/ui.js";

export const name = "Numbers";
export const summary =
  "The server sends a stream of numbers. After a lost connection, the stream continues after the last number that arrived.";

const KEEPALIVE = 10_000;
const MAX_COUNT = 65_535;
const CHECKSUM = 123_456n;
/** The first reply to a request must arrive within this time, in milliseconds. */
const REPLY_TIMEOUT = 10_000;
const RETRY = ["busy", "too-many-sessions", "taken-over", "shutting-down", "full", "truncated", "handshake-timeout", "idle-timeout"];

function uuid() {
  // `crypto.randomUUID` exists on secure pages only.
  const bytes = random(16);
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

export function start(app) {
  /** The stream that runs, or null. */
  let stream = null;
  let timer;
  const figures = new Figures();
  const log = new Log("Numbers", "Nothing yet. Start a stream.");
  const latest = el("output", { class: "latest", "aria-label": "Last number" }, "–");
  const progress = el("progress", { "aria-label": "Numbers received", max: "1", value: "0", hidden: true });
  const kind = el("select", { onchange: () => (amountField.hidden = kind.value !== "session") },
    el("option", { value: "session" }, "A session of n numbers"),
    el("option", { value: "plain" }, "A plain stream without end"));
  const amount = el("input", { type: "number", min: "1", max: String(MAX_COUNT), value: "20", required: true });
  const amountField = field("How many numbers", amount);
  const go = el("button", { type: "submit" }, "Start");
  const stop = button("Stop", stopped, "quiet");
  const form = el("form", { class: "row-form", onsubmit: begin },
    field("Stream", kind), amountField, el("div", { class: "actions" }, go, stop));
  const connection = new Connection({ opened, received, refused, lost, retries: () => stream !== null }, KEEPALIVE);

  function begin(event) {
    event.preventDefault();
    const isSession = kind.value === "session";
    stream = {
      uuid: isSession ? uuid() : null, n: isSession ? amount.valueAsNumber : Infinity,
      got: 0, last: null, sum: 0n, losses: 0, asked: false, expects: [],
    };
    log.add("note", isSession ? `Session ${stream.uuid} of ${count(stream.n, "number")}` : "Plain stream");
    latest.textContent = "–";
    progress.hidden = !isSession;
    progress.max = isSession ? stream.n : 1;
    show();
    stop.focus();
    connection.open();
  }

  function opened() {
    const { got, last, asked } = stream;
    stream.expects = [];
    if (stream.uuid === null) {
      request(last === null ? "START" : `CONTINUE ${last}`);
    } else if (!asked) {
      request(`START ${stream.uuid} ${stream.n}`);
    } else {
      stream.expects = ["place", "sum"];
      request(`CONTINUE ${stream.uuid} ${last ?? 0} ${got}`);
    }
  }

  function request(text) {
    stream.asked = true;
    connection.send(utf8(text));
    clearTimeout(timer);
    timer = setTimeout(() => connection.restart("no reply within 10 s"), REPLY_TIMEOUT);
  }

  function received(bytes) {
    const error = after("error ", bytes);
    if (stream === null) {
      return;
    }
    clearTimeout(timer);
    if (error !== null) {
      refused(...errorParts(error));
      return;
    }
    const text = ascii(bytes.subarray(0, 32));
    if (!/^\d{1,20}$/.test(text)) {
      finish("The server does not speak the protocol of numbers", "refused");
      return;
    }
    connection.proven();
    reply(BigInt(text));
  }

  function reply(number) {
    const expected = stream.expects.shift();
    if (expected === "place" || expected === "sum") {
      const own = expected === "place" ? BigInt(stream.got) : stream.sum;
      if (number !== own) {
        finish(`The server's ${expected === "place" ? "count" : "checksum"} differs: ${number} instead of ${own}`, "refused");
      } else if (expected === "sum") {
        log.add("note", `Continued after ${count(stream.got, "number")}. Count and checksum agree.`);
      }
    } else if (stream.got === stream.n) {
      const agrees = number === stream.sum;
      log.add(agrees ? "note" : "error", agrees ? `Complete. The checksum agrees: ${number}` : `The checksum differs: ${number} instead of ${stream.sum}`);
      finish(agrees ? "Complete" : "The checksum differs", agrees ? "done" : "refused");
    } else if (stream.uuid === null && stream.last !== null && number !== BigInt.asUintN(64, 3n * stream.last)) {
      finish(`${number} is not three times ${stream.last}`, "refused");
    } else {
      stream.got += 1;
      stream.last = number;
      stream.sum = (stream.sum + (number % CHECKSUM)) % CHECKSUM;
      latest.textContent = String(number);
      log.add("received", `${stream.got.toLocaleString("en")}.  ${number}`);
      show();
    }
  }

  function refused(code, text) {
    log.add("error", `Error ${code}`, utf8(text));
    if (code === "unknown-session" && stream.got === 0) {
      stream.expects = [];
      request(`START ${stream.uuid} ${stream.n}`);
    } else if (RETRY.includes(code)) {
      connection.restart(code);
    } else {
      finish(`Ended: ${code}`, "refused");
    }
  }

  function lost() {
    clearTimeout(timer);
    stream.losses += 1;
    log.add("note", `The connection was lost after ${count(stream.got, "number")}.`);
    show();
  }

  function stopped() {
    connection.send(utf8("END"));
    log.add("note", `Stopped after ${count(stream.got, "number")}.`);
    finish("Stopped", "idle");
  }

  function finish(text, state) {
    clearTimeout(timer);
    connection.end(text, state);
    const hadFocus = document.activeElement === stop;
    const { n, got, sum, losses } = stream;
    stream = null;
    show({ n, got, sum, losses });
    if (hadFocus) {
      go.focus();
    }
  }

  function show(shown = stream) {
    const isRunning = stream !== null;
    stop.disabled = !isRunning;
    go.disabled = kind.disabled = amount.disabled = isRunning;
    const { n, got, sum, losses } = shown ?? { n: Infinity, got: 0, sum: 0n, losses: 0 };
    figures.set("Received", n === Infinity ? got.toLocaleString("en") : `${got.toLocaleString("en")} of ${n.toLocaleString("en")}`);
    figures.set("Checksum", String(sum));
    figures.set("Lost connections", String(losses));
    progress.value = n === Infinity ? 0 : got;
  }

  app.append(form, latest, progress, figures.element, log.element);
  show();
}
