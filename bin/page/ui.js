// Elements of the page. Text is only ever set as text: what a peer sends never becomes markup.

import { count, start, shown } from "/shown.js";

/** Rows of a list, and bytes of their bodies, that are kept. */
const MAX_ROWS = 500;
const MAX_BYTES = 32 * 1024 * 1024;
/** Characters of a body that are shown at first. */
const EXCERPT = 280;

let ids = 0;

/** An element with attributes (`onclick` and the like are listeners) and children: elements and texts. */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) {
      element.addEventListener(name.slice(2), value);
    } else if (typeof value === "boolean") {
      element.toggleAttribute(name, value);
    } else {
      element.setAttribute(name, value);
    }
  }
  element.append(...children);
  return element;
}

export const button = (text, onclick, className = "") =>
  el("button", { type: "button", class: className, onclick }, text);

/** A control with its label and, perhaps, a hint. */
export function field(label, control, hint = "") {
  control.id = `field-${++ids}`;
  const parts = [el("label", { for: control.id }, label), control];
  if (hint !== "") {
    const note = el("p", { id: `${control.id}-hint`, class: "hint" }, hint);
    control.setAttribute("aria-describedby", note.id);
    parts.push(note);
  }
  return el("div", { class: "field" }, ...parts);
}

export function checkbox(label, checked) {
  const control = el("input", { type: "checkbox", checked });
  return [control, el("label", { class: "check" }, control, label)];
}

/** A text area for a message. Enter submits its form, Shift+Enter starts a new line. */
export function composer(label, submit) {
  const text = el("textarea", {
    rows: "2",
    spellcheck: "true",
    onkeydown: (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        text.form.requestSubmit();
      }
    },
  });
  const note = el("p", { class: "problem", role: "alert" });
  const form = el(
    "form",
    {
      class: "composer",
      onsubmit: (event) => {
        event.preventDefault();
        const problem = submit(text.value);
        note.textContent = problem ?? "";
        if (problem === undefined) {
          text.value = "";
        }
        text.focus();
      },
    },
    field(label, text, "Enter sends. Shift+Enter starts a new line."),
    el("div", { class: "actions" }, el("button", { type: "submit" }, "Send")),
    note,
  );
  return form;
}

/** Named figures, such as round-trip times. */
export class Figures {
  element = el("dl", { class: "figures" });
  #values = new Map();

  set(name, text) {
    let value = this.#values.get(name);
    if (value === undefined) {
      value = el("dd");
      this.#values.set(name, value);
      this.element.append(el("div", {}, el("dt", {}, name), value));
    }
    value.textContent = text;
  }
}

/** A list of events, newest last. It keeps the last rows only, and follows the end unless it is scrolled up. */
export class Log {
  element;
  #list = el("ol", { role: "log", tabindex: "0", class: "log" });
  #empty;
  #rows = [];
  #bytes = 0;
  #dropped = 0;
  #follows = true;
  #note = el("p", { class: "hint", hidden: true });

  constructor(title, empty) {
    const heading = el("h2", { id: `log-${++ids}` }, title);
    this.#list.setAttribute("aria-labelledby", heading.id);
    this.#empty = el("p", { class: "empty" }, empty);
    const clear = button("Clear", () => this.#clear(), "quiet");
    clear.setAttribute("aria-label", `Clear ${title}`);
    const head = el("div", { class: "section-head" }, heading, clear);
    this.element = el("section", { class: "events" }, head, this.#note, this.#empty, this.#list);
    this.#list.hidden = true;
    this.#list.addEventListener("scroll", () => {
      const { scrollHeight, scrollTop, clientHeight } = this.#list;
      this.#follows = scrollHeight - scrollTop - clientHeight < 40;
    });
    new ResizeObserver(() => this.#follow()).observe(this.#list);
  }

  #follow() {
    if (this.#follows) {
      this.#list.scrollTop = this.#list.scrollHeight;
    }
  }

  /** Adds a row: its kind ("sent", "received", "note", "error"), a label, and the bytes of a body. */
  add(kind, label, body = null) {
    const list = this.#list;
    const row = new Row(kind, label, body, () => this.#follow());
    this.#rows.push(row);
    this.#bytes += row.size;
    list.hidden = false;
    this.#empty.hidden = true;
    list.append(row.element);
    while (this.#rows.length > MAX_ROWS || (this.#bytes > MAX_BYTES && this.#rows.length > 1)) {
      const first = this.#rows.shift();
      this.#bytes -= first.size;
      first.element.remove();
      this.#dropped += 1;
      this.#note.hidden = false;
      this.#note.textContent = `${count(this.#dropped, "older row")} removed`;
    }
    this.#follow();
    return row;
  }

  #clear() {
    this.#rows = [];
    this.#bytes = 0;
    this.#dropped = 0;
    this.#follows = true;
    this.#list.replaceChildren();
    this.#list.hidden = true;
    this.#note.hidden = true;
    this.#empty.hidden = false;
  }
}

class Row {
  element;
  size;
  #state = el("span", { class: "state" });
  #actions = el("span", { class: "row-actions" });
  #grown;

  constructor(kind, label, body, grown) {
    this.#grown = grown;
    this.size = body?.length ?? 0;
    const time = new Date().toLocaleTimeString("en-GB");
    const head = el(
      "div",
      { class: "row-head" },
      el("time", {}, time),
      el("span", { class: "label" }, label),
      this.#state,
      this.#actions,
    );
    this.element = el("li", { class: `row ${kind}` }, head);
    if (body !== null) {
      this.element.append(...bodyOf(body));
    }
  }

  /** Shows what became of the row: "waiting", "done", "failed". */
  state(state, text) {
    this.#state.textContent = text;
    this.#state.dataset.state = state;
    this.#grown();
  }

  /** Adds a button. Returns a function that removes it. */
  action(text, label, onclick) {
    const added = button(text, onclick, "small");
    added.setAttribute("aria-label", label);
    this.#actions.append(added);
    return () => {
      const hadFocus = document.activeElement === added;
      added.remove();
      if (hadFocus) {
        this.element.closest(".log")?.focus({ preventScroll: true });
      }
    };
  }
}

function bodyOf(body) {
  if (body.length === 0) {
    return [el("p", { class: "body none" }, "empty")];
  }
  const [excerpt, whole] = start(body, EXCERPT);
  const text = el("p", { class: "body", dir: "auto" }, excerpt);
  if (whole) {
    return [text];
  }
  const all = `Show all ${count(body.length, "byte")}`;
  const more = button(all, () => {
    const open = more.getAttribute("aria-expanded") !== "true";
    more.setAttribute("aria-expanded", String(open));
    text.textContent = open ? shown(body) : excerpt;
    more.textContent = open ? "Show less" : all;
  }, "small");
  more.setAttribute("aria-expanded", "false");
  return [text, more];
}
