// The whole run at the side, and what mouse and keyboard do.

function drawOverview() {
  const pen = context(overview);
  const [width, tall] = [overview.clientWidth, overview.clientHeight];
  const scale = tall / Math.max(1, whole());
  const at = (index) => positions()[index] * view.zoom * scale;
  const place = (lane) => 6 + (width - 12) * (laneOrder.indexOf(lane) + 0.5) / laneOrder.length;
  for (const fault of run.faults) {
    const from = at(fault.from);
    const to = fault.until !== null ? rowAt(positions(), fault.until) * view.zoom * scale : at(fault.to ?? last);
    pen.fillStyle = colours[fault.link ? "fault" : "down"];
    pen.fillRect(place(fault.lane) - 5, from, 10, Math.max(2, to - from));
  }
  for (const step of steps) {
    if (step.who === null) continue;
    pen.globalAlpha = dimmed(step.index) ? 0.15 : 0.8;
    pen.fillStyle = colours[paint(step.event[0])];
    pen.fillRect(place(step.who) - 2, at(step.index), 4, 1.2);
  }
  pen.globalAlpha = 1;
  for (const index of view.matches) {
    pen.fillStyle = colours["fault-ink"];
    pen.fillRect(0, at(index), 4, 2);
  }
  if (verdict.rule !== undefined) {
    pen.fillStyle = colours.fail;
    pen.fillRect(0, at(verdict.step) - 1, width, 3);
  }
  pen.strokeStyle = colours.ink;
  pen.lineWidth = 1;
  pen.strokeRect(0.5, view.top * scale + 0.5, width - 1, Math.max(6, Math.min(tall - 1, (height() - HEAD) * scale)));
}

function reveal(index, wherever) {
  const at = y(index);
  if (wherever || at < HEAD + 30 || at > height() - 40) view.top += at - HEAD - (height() - HEAD) * 0.45;
}

function select(index, center) {
  view.selected = Math.max(0, Math.min(last, index));
  if (view.causes) {
    view.causes = causesOf(view.selected);
    layOut();
  }
  reveal(view.selected, center);
  showPanel(view.selected, find, (to) => select(to));
  showFound();
  redraw();
}

function find(text) {
  search.value = text;
  searchFor(true);
}

function searchFor(jump) {
  const wanted = searcher(search.value);
  view.matches = wanted ? steps.filter(wanted).map((step) => step.index) : [];
  view.found = wanted ? new Set(view.matches) : null;
  layOut();
  if (jump && view.matches.length > 0 && !view.found.has(view.selected)) match(1);
  showFound();
  redraw();
}

// Finds each step its row again, with the selected one staying where it is.
function layOut() {
  const at = y(view.selected);
  view.fold = !view.byTime && document.getElementById("fold").getAttribute("aria-pressed") === "true"
    && Boolean(view.found || view.causes);
  view.rows = view.byTime ? rowsByTime : view.fold ? inRows((index) => !dimmed(index) || steps[index].fault) : rowsInOrder;
  view.top += y(view.selected) - at;
}

function showFound() {
  const place = view.matches.indexOf(view.selected);
  document.getElementById("found").textContent = view.found
    ? `${place < 0 ? "" : `${place + 1} of `}${view.matches.length}` : "";
}

function match(direction) {
  if (view.matches.length === 0) return;
  const later = direction > 0 ? view.matches.find((index) => index > view.selected)
    : view.matches.findLast((index) => index < view.selected);
  select(later ?? view.matches.at(direction > 0 ? 0 : -1));
}

function zoom(factor, around) {
  const anchor = around ?? Math.max(HEAD, Math.min(height(), y(view.selected)));
  const row = (anchor - HEAD + view.top) / view.zoom;
  // So far out that all can be seen, so far in that steps in one millisecond come apart.
  const least = Math.min(24, (height() - HEAD) / (positions()[last] + 3));
  view.zoom = Math.max(least, Math.min(view.byTime ? 4000 : 80, view.zoom * factor));
  view.top = row * view.zoom - anchor + HEAD;
  redraw();
}

function toggle(name, on) {
  document.getElementById(name).setAttribute("aria-pressed", String(on));
}

const commands = {
  ArrowDown: () => select(view.selected + 1),
  ArrowUp: () => select(view.selected - 1),
  j: () => select(view.selected + 1),
  k: () => select(view.selected - 1),
  ArrowRight: () => {
    const arrow = steps[view.selected].sent.find(({ to }) => to !== null);
    if (arrow) select(arrow.to);
  },
  ArrowLeft: () => {
    const { cause } = steps[view.selected];
    if (cause) select(cause.from);
  },
  PageDown: () => { view.top += height() * 0.8; redraw(); },
  PageUp: () => { view.top -= height() * 0.8; redraw(); },
  Home: () => select(0),
  End: () => select(last),
  "+": () => zoom(1.3),
  "=": () => zoom(1.3),
  "-": () => zoom(1 / 1.3),
  "/": () => { search.focus(); search.select(); },
  n: () => match(1),
  N: () => match(-1),
  f: () => { if (verdict.rule !== undefined) select(verdict.step, true); },
  c: () => {
    view.causes = view.causes ? null : causesOf(view.selected);
    toggle("causes", Boolean(view.causes));
    layOut();
    redraw();
  },
  o: () => {
    toggle("fold", document.getElementById("fold").getAttribute("aria-pressed") !== "true");
    layOut();
    reveal(view.selected);
    redraw();
  },
  t: () => {
    view.byTime = !view.byTime;
    toggle("time", view.byTime);
    layOut();
    if (!view.byTime) view.zoom = Math.min(view.zoom, 80);
    reveal(view.selected, true);
    redraw();
  },
  Escape: () => { search.value = ""; searchFor(false); picture.focus(); },
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target === search) {
    if (event.key === "Enter") match(event.shiftKey ? -1 : 1);
    else if (event.key === "Escape") commands.Escape();
    return;
  }
  if (commands[event.key] === undefined) return;
  event.preventDefault();
  commands[event.key]();
});
search.addEventListener("input", () => searchFor(true));
for (const [id, key] of [["previous", "N"], ["next", "n"], ["fold", "o"], ["causes", "c"], ["time", "t"], ["in", "+"], ["out", "-"], ["failure", "f"]]) {
  document.getElementById(id).addEventListener("click", () => commands[key]());
}

picture.addEventListener("wheel", (event) => {
  event.preventDefault();
  if (event.ctrlKey || event.metaKey) {
    zoom(Math.exp(-event.deltaY / 300), event.offsetY);
  } else {
    view.top += event.deltaMode === 1 ? event.deltaY * 18 : event.deltaY;
    redraw();
  }
}, { passive: false });

// Dragging scrolls; a click selects the nearest step.
let drag = null;
picture.addEventListener("pointerdown", (event) => {
  drag = { y: event.clientY, top: view.top, moved: false };
  picture.setPointerCapture(event.pointerId);
  picture.focus();
});
picture.addEventListener("pointermove", (event) => {
  if (!drag) return;
  if (Math.abs(event.clientY - drag.y) > 4) drag.moved = true;
  if (drag.moved) {
    view.top = drag.top - (event.clientY - drag.y);
    redraw();
  }
});
picture.addEventListener("pointerup", (event) => {
  if (drag && !drag.moved) {
    const row = (event.offsetY - HEAD + view.top) / view.zoom;
    const after = Math.min(last, stepAtRow(positions(), row));
    const nearest = after > 0 && row - positions()[after - 1] < positions()[after] - row ? after - 1 : after;
    select(nearest);
  }
  drag = null;
});

overview.addEventListener("pointerdown", (event) => overview.setPointerCapture(event.pointerId));
for (const kind of ["pointerdown", "pointermove"]) {
  overview.addEventListener(kind, (event) => {
    if (event.buttons === 0) return;
    view.top = (event.offsetY / overview.clientHeight) * whole() - height() / 2;
    redraw();
  });
}

function begin() {
  readColours();
  showHead();
  // A link may say where to look: #step=12 or #find=hello.
  const wanted = new URLSearchParams(location.hash.slice(1));
  if (wanted.has("zoom")) view.zoom = Number(wanted.get("zoom")) || view.zoom;
  if (wanted.has("find")) find(wanted.get("find"));
  else if (verdict.rule !== undefined) {
    // A failure is shown with what it is about, and nothing else.
    view.selected = verdict.step;
    const about = subject();
    if (about !== "") {
      toggle("fold", true);
      find(about);
    }
  }
  const start = wanted.has("step") ? Number(wanted.get("step")) : verdict.step ?? view.matches[0] ?? 0;
  select(start, start > 0);
  if (verdict.rule !== undefined && !wanted.has("step")) view.top += (height() - HEAD) * -0.3;
  picture.focus();
}

new ResizeObserver(redraw).observe(picture);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readColours(); redraw(); });
begin();
