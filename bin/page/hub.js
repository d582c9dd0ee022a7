// A client of a hub: a user with an id, who sends to other users by their ids.

import { readU64, u64, utf8 } from "/bytes.js";
import { Connection, errorParts } from "/connection.js";
import { count, milliseconds } from "/shown.js";
import { Figures, Log, button, composer, el, field } from "/ui.js";

export const name = "Hub";
export const summary = "Every connected client is a user with an id. List the users, and send messages to them by id.";

const KEEPALIVE = 20_000;
const MAX_BODY = 1024 * 1024;
const MAX_RECEIVERS = 255;
const MAX_PENDING = 100;
/** Users that the page shows. A list can be longer. */
const MAX_SHOWN = 200;
const IDENTITY = 1, LIST = 2, RELAY = 4;
const FROM_SERVER = { identity: 0x81, list: 0x82, echo: 0x83, receipt: 0x84, delivery: 0x85, error: 0xff };
const RETRY = ["busy", "shutting-down", "full", "truncated", "handshake-timeout", "idle-timeout"];
const END = ["frame-too-long", "line-too-long", "tls-required", "tls-unsupported", "ws-required"];

export function start(app) {
  /** Requests without a reply, in order. */
  let pending = [];
  let own = null;
  let users = [];
  let ended = false;
  const figures = new Figures();
  const log = new Log("Messages", "Nothing yet. Choose users and send them a message.");
  const to = el("input", { type: "text", inputmode: "numeric", autocomplete: "off" });
  const list = el("ul", { class: "users" });
  const listNote = el("p", { class: "hint", role: "status" });
  const refresh = button("Refresh", () => request({ kind: LIST }), "quiet");

  const connection = new Connection({ opened, received, refused, lost, retries: () => !ended }, KEEPALIVE);

  function opened() {
    request({ kind: IDENTITY });
    request({ kind: LIST });
  }

  function request(entry, ...payload) {
    if (pending.length >= MAX_PENDING || !connection.send(Uint8Array.of(entry.kind), ...payload)) {
      return false;
    }
    pending.push({ ...entry, sent: performance.now() });
    return true;
  }

  function receivers() {
    const ids = to.value.split(/[\s,]+/).filter((word) => word !== "");
    if (ids.length === 0) {
      return "Choose at least one user, or type ids such as 2,3.";
    }
    if (ids.length > MAX_RECEIVERS) {
      return `A message can have at most ${MAX_RECEIVERS} receivers.`;
    }
    const wrong = ids.find((id) => !/^\d{1,20}$/.test(id) || BigInt(id) >= 2n ** 64n);
    return wrong === undefined ? ids : `"${wrong.slice(0, 24)}" is not a user id. Ids are numbers such as 2,3.`;
  }

  function submit(text) {
    const ids = receivers();
    const body = utf8(text);
    if (typeof ids === "string") {
      return ids;
    }
    if (body.length > MAX_BODY) {
      return `This message has ${count(body.length, "byte")}. The most are ${count(MAX_BODY, "byte")}.`;
    }
    if (!connection.isOpen) {
      return "Not connected. Wait until the connection is open again.";
    }
    const entry = { kind: RELAY, row: null, receivers: new Set(ids.map(String)).size };
    const payload = [Uint8Array.of(ids.length), ...ids.map((id) => u64(BigInt(id))), body];
    if (pending.length >= MAX_PENDING) {
      return `${MAX_PENDING} requests wait for their replies. Wait until one is answered.`;
    }
    const label = ids.length > 8 ? `You, to ${count(ids.length, "user")}` : `You, to ${ids.join(", ")}`;
    entry.row = log.add("sent", label, body);
    entry.row.state("waiting", "waiting for the receipt");
    if (!request(entry, ...payload)) {
      entry.row.state("failed", "not sent: too much waits to be sent");
    }
  }

  function received(bytes) {
    const kind = bytes[0];
    const rest = bytes.subarray(1);
    if (kind === FROM_SERVER.error) {
      refused(...errorParts(rest));
      return;
    }
    connection.proven();
    if (kind === FROM_SERVER.delivery && rest.length >= 8) {
      const from = readU64(rest, 0);
      log.add("received", from === own ? "From yourself" : `From ${from}`, rest.subarray(8).slice());
      if (from !== own && !users.includes(from) && !pending.some((entry) => entry.kind === LIST)) {
        request({ kind: LIST });
      }
      return;
    }
    const entry = pending.shift();
    if (entry?.kind === IDENTITY && kind === FROM_SERVER.identity && rest.length === 8) {
      own = readU64(rest, 0);
      figures.set("Your id", String(own));
    } else if (entry?.kind === LIST && kind === FROM_SERVER.list && rest.length % 8 === 0) {
      users = Array.from({ length: rest.length / 8 }, (_, at) => readU64(rest, 8 * at));
      showUsers();
    } else if (entry?.kind === RELAY && kind === FROM_SERVER.receipt && rest.length % 9 === 1) {
      receipt(entry, rest);
    } else {
      ended = true;
      connection.end("The server does not speak the hub's protocol", "refused");
    }
  }

  function receipt(entry, bytes) {
    const reasons = { 1: [], 2: [] };
    for (let at = 1; at < bytes.length; at += 9) {
      reasons[bytes[at]]?.push(readU64(bytes, at + 1));
    }
    const relayed = `relayed to ${bytes[0]} of ${count(entry.receivers, "user")}`;
    const parts = [`${relayed}, ${milliseconds(performance.now() - entry.sent)}`];
    if (reasons[1].length > 0) {
      parts.push(`no such user: ${reasons[1].join(", ")}`);
    }
    if (reasons[2].length > 0) {
      parts.push(`too slow: ${reasons[2].join(", ")}`);
    }
    entry.row.state(parts.length === 1 ? "done" : "failed", parts.join("; "));
  }

  function refused(code, text) {
    const body = utf8(text);
    if (RETRY.includes(code)) {
      log.add("error", `Error ${code}`, body);
      connection.restart(code);
    } else if (END.includes(code) || pending.length === 0) {
      log.add("error", `Error ${code}`, body);
      ended = true;
      connection.end(`Ended: ${code}`, "refused");
    } else {
      const entry = pending.shift();
      entry.row?.state("failed", `not sent: ${code}`);
      log.add("error", `Error ${code}`, body);
    }
  }

  function lost() {
    for (const entry of pending) {
      entry.row?.state("failed", "the connection was lost before the receipt; it may have been relayed");
    }
    if (own !== null) {
      log.add("note", `The connection of user ${own} ended. You get a new id.`);
    }
    pending = [];
    own = null;
    users = [];
    figures.set("Your id", "–");
    showUsers();
  }

  function showUsers() {
    figures.set("Other users", users.length.toLocaleString("en"));
    const chosen = new Set(to.value.split(/[\s,]+/));
    const focused = document.activeElement?.dataset?.user;
    list.replaceChildren(...users.slice(0, MAX_SHOWN).map((id) => {
      const chip = button(String(id), () => choose(String(id)), "chip");
      chip.dataset.user = String(id);
      chip.setAttribute("aria-pressed", String(chosen.has(String(id))));
      chip.setAttribute("aria-label", `Send to user ${id}`);
      return el("li", {}, chip);
    }));
    if (focused !== undefined) {
      list.querySelector(`[data-user="${focused}"]`)?.focus();
    }
    const more = users.length - MAX_SHOWN;
    listNote.textContent =
      users.length === 0 ? "No other user is connected." : more > 0 ? `${count(more, "more user")}: type their ids.` : "";
  }

  function choose(id) {
    const ids = to.value.split(/[\s,]+/).filter((word) => word !== "");
    to.value = (ids.includes(id) ? ids.filter((other) => other !== id) : [...ids, id]).join(", ");
    showUsers();
  }

  to.addEventListener("input", showUsers);
  const heading = el("h2", {}, "Users");
  app.append(
    figures.element,
    el("section", {}, el("div", { class: "section-head" }, heading, refresh), list, listNote),
    field("To", to, "Ids, separated by commas. Your own id is allowed."),
    composer("Message", submit),
    log.element,
  );
  figures.set("Your id", "–");
  showUsers();
  connection.open();
}
