// The picture: lanes, time going down, arrows. Only what is visible is drawn.

const picture = document.getElementById("picture");
const overview = document.getElementById("overview");
const search = document.getElementById("search");
const HEAD = 34, GUTTER = 92, FONT = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif";

const view = { zoom: 24, top: 0, selected: 0, byTime: false, fold: false, rows: rowsInOrder, causes: null, found: null, matches: [] };
const positions = () => view.rows;
const y = (index) => positions()[index] * view.zoom - view.top + HEAD;
const height = () => picture.clientHeight;
const whole = () => (positions()[last] + 3) * view.zoom;

// Clients on both sides of the server.
const laneOrder = (() => {
  const clients = run.lanes.map((_, lane) => lane).filter((lane) => lane !== server);
  const left = Math.ceil(clients.length / 2);
  return [...clients.slice(0, left), server, ...clients.slice(left)];
})();
const serverPlace = laneOrder.indexOf(server);
// Beside the outermost lanes there is almost as much room for words as between lanes.
const OUTER = 0.8;
const spacing = () => (picture.clientWidth - GUTTER) / (laneOrder.length - 1 + 2 * OUTER);
const x = (lane) => GUTTER + spacing() * (laneOrder.indexOf(lane) + OUTER);

let colours = {};
function readColours() {
  const style = getComputedStyle(document.documentElement);
  const names = [...COLOURS, "paper", "ink", "faint", "line", "lane", "fault", "down", "fault-ink", "found", "selected"];
  colours = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

const dimmed = (index) => index !== verdict.step && index !== view.selected && !steps[index].fault && dim(index);
const dim = (index) => (view.causes && !view.causes.has(index)) || (view.found && !view.found.has(index));
// An arrow belongs to a search if both its ends do, or the one that it has.
const dimmedArrow = (arrow) => dimmed(arrow.from) || (arrow.to !== null && dimmed(arrow.to));

function context(canvas) {
  const scale = window.devicePixelRatio || 1;
  const [width, tall] = [canvas.clientWidth, canvas.clientHeight];
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(tall * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(tall * scale);
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, tall);
  return pen;
}

function shorten(pen, text, room) {
  if (pen.measureText(text).width <= room) return text;
  let length = Math.max(1, Math.floor(text.length * room / pen.measureText(text).width));
  while (length > 1 && pen.measureText(`${text.slice(0, length)}…`).width > room) length--;
  return `${text.slice(0, length)}…`;
}

function drawBands(pen) {
  const levels = new Map();
  const names = [];
  for (const fault of run.faults) {
    const from = y(fault.from);
    const end = fault.until !== null ? rowAt(positions(), fault.until) * view.zoom - view.top + HEAD
      : y(fault.to ?? last);
    const to = Math.max(end, from + 12);
    const busy = (levels.get(fault.lane) ?? []).filter((band) => band.to > from);
    let level = 0;
    while (busy.some((band) => band.level === level)) level++;
    levels.set(fault.lane, [...busy, { to, level }]);
    if (to < HEAD || from > height()) continue;
    const half = Math.min(spacing() * 0.46, 150) - level * 13;
    pen.fillStyle = colours[fault.link ? "fault" : "down"];
    pen.fillRect(x(fault.lane) - half, from, 2 * half, to - from);
    pen.fillStyle = colours["fault-ink"];
    pen.fillRect(x(fault.lane) - half, from, 3, to - from);
    names.push([fault.name, x(fault.lane) - half + 8, Math.max(from + 12, HEAD + 13 + level * 15), to]);
  }
  pen.font = `italic 600 11px ${FONT}`;
  return () => {
    pen.font = `italic 600 11px ${FONT}`;
    for (const [name, left, top] of names) {
      pen.globalAlpha = 0.85;
      pen.fillStyle = colours.paper;
      pen.fillRect(left - 3, top - 11, pen.measureText(name).width + 6, 14);
      pen.globalAlpha = 1;
      pen.fillStyle = colours["fault-ink"];
      pen.fillText(name, left, top);
    }
  };
}

function drawLanes(pen) {
  pen.lineWidth = 1.5;
  pen.strokeStyle = colours.lane;
  for (const lane of laneOrder) {
    pen.beginPath();
    pen.moveTo(x(lane), HEAD);
    pen.lineTo(x(lane), Math.min(height(), whole() - view.top + HEAD));
    pen.stroke();
  }
}

function drawArrow(pen, arrow) {
  const [fromX, fromY] = [x(arrow.who), y(arrow.from)];
  const open = arrow.to === null, lost = open && !arrow.underWay;
  let [toX, toY] = [x(open ? arrow.other : steps[arrow.to].who), open ? fromY + 0.62 * view.zoom : y(arrow.to)];
  if (open) toX = fromX + (toX - fromX) * 0.42;
  if (Math.max(fromY, toY) < HEAD || Math.min(fromY, toY) > height()) return;
  if (dimmedArrow(arrow) && folded(arrow.from)) return;
  const chosen = !dimmedArrow(arrow) && (arrow.from === view.selected || arrow.to === view.selected);
  pen.globalAlpha = dimmedArrow(arrow) ? 0.12 : chosen ? 1 : arrow.colour === "close" || arrow.colour === "open" ? 0.55 : 0.8;
  // From far away many lie on top of each other.
  if (!chosen) pen.globalAlpha *= Math.max(0.12, Math.min(1, view.zoom / 5));
  pen.strokeStyle = pen.fillStyle = colours[paint(arrow.colour)];
  pen.lineWidth = chosen ? 2.6 : view.zoom < 6 ? 0.7 : 1.4;
  pen.setLineDash(open ? [4, 3] : arrow.colour === "close" || arrow.colour === "open" ? [1.5, 3] : []);
  pen.beginPath();
  pen.moveTo(fromX, fromY);
  pen.lineTo(toX, toY);
  pen.stroke();
  pen.setLineDash([]);
  if (view.zoom < 4) return;
  pen.beginPath();
  if (lost) {
    pen.lineWidth = 2;
    pen.moveTo(toX - 4, toY - 4);
    pen.lineTo(toX + 4, toY + 4);
    pen.moveTo(toX + 4, toY - 4);
    pen.lineTo(toX - 4, toY + 4);
    pen.stroke();
    return;
  }
  const angle = Math.atan2(toY - fromY, toX - fromX), size = chosen ? 11 : 8, tipX = toX - 4 * Math.cos(angle), tipY = toY - 4 * Math.sin(angle);
  pen.moveTo(tipX, tipY);
  pen.lineTo(tipX - size * Math.cos(angle - 0.38), tipY - size * Math.sin(angle - 0.38));
  pen.lineTo(tipX - size * Math.cos(angle + 0.38), tipY - size * Math.sin(angle + 0.38));
  pen.fill();
}

// On which side of its lane a step has its words: away from where its arrows go.
function sideOf(step) {
  const place = laneOrder.indexOf(step.who);
  if (place !== serverPlace) return place < serverPlace ? -1 : 1;
  const peers = [step.cause?.who, ...step.sent.map((arrow) => arrow.other)].filter((lane) => lane !== undefined);
  const right = peers.filter((lane) => laneOrder.indexOf(lane) > serverPlace).length;
  return right > peers.length - right ? -1 : 1;
}

function drawStep(pen, step) {
  const at = y(step.index);
  const dim = dimmed(step.index);
  if (step.index === view.selected) {
    pen.fillStyle = colours.selected;
    pen.fillRect(0, at - Math.max(9, view.zoom / 2), picture.clientWidth, Math.max(18, view.zoom));
  }
  pen.globalAlpha = dim ? 0.22 : 1;
  const colour = colours[step.broken ? "fail" : paint(step.event[0])];
  const labelled = view.zoom >= 13 && (!crowded(step.index) || step.broken);
  if (step.broken) {
    pen.fillStyle = colours.fail;
    pen.fillRect(GUTTER, at - 1, picture.clientWidth, 2);
  }
  if (step.who === null) {
    if (!step.broken && !step.fault && view.zoom >= 3) {
      pen.fillStyle = colours.line;
      pen.fillRect(GUTTER, at, picture.clientWidth, 1);
    }
    // A fault's name stands in its band.
    if (labelled && !step.fault) label(pen, step.broken ?? step.event[1], GUTTER + 6, at, picture.clientWidth - GUTTER - 20, 1, step.broken ? "fail" : "note");
    return;
  }
  const radius = step.broken ? 7 : view.fold && dim ? 1.8 : view.zoom < 5 ? 1.6 : view.zoom < 13 ? 2.6 : 4.2;
  pen.beginPath();
  pen.arc(x(step.who), at, radius, 0, 7);
  pen.fillStyle = ["local", "open"].includes(step.event[0]) && !step.broken && view.zoom >= 5 ? colours.paper : colour;
  pen.fill();
  pen.lineWidth = 1.8;
  pen.strokeStyle = colour;
  if (view.zoom >= 5) pen.stroke();
  if (!labelled) return;
  const side = sideOf(step);
  const edge = laneOrder.indexOf(step.who) + side;
  const room = edge < 0 || edge >= laneOrder.length ? spacing() * OUTER - 16 : spacing() - 26;
  const weight = step.broken ? "fail" : step.index === view.selected ? "ink" : null;
  label(pen, step.label, x(step.who) + side * 11, at, step.broken ? room * 2 : room, side, weight, view.found?.has(step.index));
}

// Whether a step is one of so many that are folded that nothing can be seen of any one.
const folded = (index) => view.fold && index < last && positions()[index + 1] - positions()[index] < 0.05;

// Whether there is no room for words. Steps that matter more than their neighbours have room made for them.
function crowded(index) {
  if (index === view.selected) return false;
  if (view.fold && dimmed(index)) return true;
  return index > 0 && y(index) - y(index - 1) < 12 && !(view.fold && dimmed(index - 1));
}

function label(pen, text, left, at, room, side, colour, found) {
  pen.font = `${colour === "fail" || colour === "ink" ? "600 " : ""}11px ${FONT}`;
  const words = shorten(pen, text, room);
  const width = pen.measureText(words).width;
  const start = side > 0 ? left : left - width;
  const alpha = pen.globalAlpha;
  pen.globalAlpha = alpha * 0.72;
  pen.fillStyle = colours.paper;
  pen.fillRect(start - 2, at - 7, width + 4, 14);
  pen.globalAlpha = alpha;
  if (found) {
    pen.fillStyle = colours.found;
    pen.fillRect(start - 3, at - 8, width + 6, 16);
  }
  pen.fillStyle = colours[colour ?? "ink"];
  pen.fillText(words, start, at + 4);
}

function drawGutter(pen, from, to) {
  pen.textAlign = "right";
  pen.font = `11px ${FONT}`;
  let lowest = -Infinity;
  for (let index = from; index <= to; index++) {
    const at = y(index);
    const passed = index > 0 ? steps[index].at - steps[index - 1].at : 1;
    if ((passed > 0 || index === from || index === view.selected) && at - lowest >= 13) {
      pen.fillStyle = colours[index === view.selected ? "ink" : "faint"];
      pen.fillText(seconds(steps[index].at), GUTTER - 10, at + 4);
      lowest = at;
    }
    if (passed >= 1e6 && !view.byTime && view.zoom >= 13 && at - y(index - 1) > 26) {
      pen.fillStyle = colours["fault-ink"];
      const middle = (at + y(index - 1)) / 2;
      pen.fillText(`⋮ ${span(passed)}`, GUTTER - 10, middle + 4);
    }
  }
  pen.textAlign = "left";
}

function drawHead(pen) {
  pen.fillStyle = colours.paper;
  pen.fillRect(0, 0, picture.clientWidth, HEAD);
  pen.fillStyle = colours.line;
  pen.fillRect(0, HEAD - 1, picture.clientWidth, 1);
  pen.font = `600 13px ${FONT}`;
  pen.textAlign = "center";
  pen.fillStyle = colours.ink;
  for (const lane of laneOrder) pen.fillText(run.lanes[lane], x(lane), 21);
  pen.textAlign = "right";
  pen.font = `11px ${FONT}`;
  pen.fillStyle = colours.faint;
  pen.fillText("seconds", GUTTER - 10, 21);
  pen.textAlign = "left";
}

function draw() {
  view.top = Math.max(0, Math.min(view.top, whole() - height() + HEAD));
  const pen = context(picture);
  const from = Math.max(0, stepAtRow(positions(), (view.top - 20) / view.zoom) - 1);
  const to = Math.min(last, stepAtRow(positions(), (view.top + height()) / view.zoom));
  const nameBands = drawBands(pen);
  drawLanes(pen);
  for (const arrow of arrows) {
    if (arrow.from > to) break;
    if ((arrow.to ?? arrow.from) >= from) drawArrow(pen, arrow);
  }
  pen.globalAlpha = 1;
  for (let index = from; index <= to; index++) {
    drawStep(pen, steps[index]);
    pen.globalAlpha = 1;
  }
  nameBands();
  drawGutter(pen, from, to);
  drawHead(pen);
  drawOverview();
}

let asked = false;
function redraw() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    draw();
  });
}
