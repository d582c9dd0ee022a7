// The run: what the page knows, and what follows from it.

const run = JSON.parse(document.getElementById("data").textContent);
const steps = run.steps.map((step, index) => ({ ...step, index, sent: [], cause: null }));
const server = run.lanes.length - 1;
const verdict = run.verdict;

// The connections, by number, and by the names that their two ends have.
const connections = new Map();
const named = new Map();
for (const [number, who, name] of run.ends) {
  const connection = connections.get(number) ?? { number };
  connection[who === server ? "server" : "client"] = { who, name };
  connections.set(number, connection);
  named.set(name, connection);
}
const NAME = /\bc\d+\.\d+@[\w-]+(?:#\d+)?/g;
const QUOTED = /"(?:[^"\\]|\\.)*"/g;

const arrows = run.arrows.map(([from, to, who, colour, text, number, underWay]) => {
  const connection = connections.get(number);
  const other = who === server ? connection?.client?.who : server;
  return { from, to, who, colour, text, number, underWay, other: other ?? server };
});
for (const arrow of arrows) {
  steps[arrow.from].sent.push(arrow);
  if (arrow.to !== null) steps[arrow.to].cause = arrow;
}

// A run that fails without a step to blame fails at its end.
if (verdict.rule !== undefined) {
  if (verdict.step === null) {
    steps.push({
      index: steps.length, at: verdict.at, who: null, life: 0, event: ["fail", verdict.rule, null],
      actions: [], learnt: [], forgotten: [], sent: [], cause: null,
    });
    verdict.step = steps.length - 1;
  }
  steps[verdict.step].broken = verdict.rule;
}
const last = Math.max(0, steps.length - 1);

// What a search looks through.
for (const step of steps) {
  const told = [step.event, ...step.actions];
  step.tags = told.map(([, , name]) => named.get(name)).filter(Boolean).map((connection) => `#${connection.number}`);
  const words = told.map(([, text]) => text).join(" → ");
  // In the picture arrows show what was sent; beside the step stand only what happened and what shows no arrow.
  const unseen = step.actions.filter(([colour]) => colour === "local").map(([, text]) => text.replace(/ \{.*$/s, ""));
  const happened = step.event[1].replace(" says ", " ").replace(/ by dial \d+$/, "").replace(/^dial \d+/, "dial").replace(/^(\w+) number \d+: /, "$1 ");
  // Whose connections they are is seen by the lane.
  step.label = [happened, ...unseen].join(" → ").replace(NAME, (name) => name.replace(/@.*/, ""));
  step.searched = `${run.lanes[step.who] ?? ""} ${words} ${step.broken ?? ""}`.toLowerCase();
}

// Whether a step is what is searched for: words, or a connection as #12, or several of them with bars between.
function searcher(text) {
  const wanted = text.toLowerCase().split(" | ").map((part) => part.trim()).filter((part) => part !== "");
  if (wanted.length === 0) return null;
  return (step) => wanted.some((part) => (/^#\d+$/.test(part) ? step.tags.includes(part) : step.searched.includes(part)));
}

// What a failure is about: the X and the connections that its rule names.
function subject() {
  const names = verdict.rule.match(NAME) ?? [];
  const tags = names.map((name) => named.get(name)).filter(Boolean).map((connection) => `#${connection.number}`);
  return [...new Set([...(verdict.rule.match(QUOTED) ?? []), ...tags])].join(" | ");
}

// The step before on the same lane.
const before = new Array(steps.length).fill(null);
{
  const latest = new Map();
  for (const step of steps) {
    before[step.index] = latest.get(step.who) ?? null;
    if (step.who !== null) latest.set(step.who, step.index);
  }
}

// All steps that can have led to this one, itself included.
function causesOf(index) {
  const causes = new Set();
  const open = [index];
  while (open.length > 0) {
    const at = open.pop();
    if (at === null || causes.has(at)) continue;
    causes.add(at);
    if (steps[at].who !== null) open.push(before[at]);
    if (steps[at].cause) open.push(steps[at].cause.from);
  }
  return causes;
}

// What the server knows after a step, as lists of facts by kind.
function knownAt(index) {
  const known = new Map();
  for (let at = 0; at <= index; at++) {
    for (const [kind, fact] of steps[at].forgotten) {
      const facts = known.get(kind);
      facts.splice(facts.indexOf(fact), 1);
    }
    for (const [kind, fact] of steps[at].learnt) {
      if (!known.has(kind)) known.set(kind, []);
      known.get(kind).push(fact);
    }
  }
  return known;
}

// Where each step is, in rows: one after the other, with some air where time passes, or as time goes.
const total = Math.max(1, steps[last]?.at ?? 1);
const rowsByTime = steps.map((step) => 1 + (step.at / total) * 2 * steps.length);
const rowsInOrder = inRows(() => true);

// Those that are not kept are folded: however many they are between two that are, they take about a row.
function inRows(kept) {
  const rows = [];
  let row = 0;
  for (let index = 0; index < steps.length;) {
    if (kept(index)) {
      const passed = steps[index].at - (steps[index - 1]?.at ?? steps[index].at);
      row += 1 + Math.min(2.2, 0.55 * Math.log10(1 + passed / 10000));
      rows.push(row);
      index++;
      continue;
    }
    let end = index;
    while (end < steps.length && !kept(end)) end++;
    const each = Math.min(0.3, 1.4 / (end - index));
    for (; index < end; index++) rows.push(row += each);
  }
  return rows;
}

// The first step that is at this row or after it.
function stepAtRow(positions, row) {
  let low = 0, high = positions.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (positions[middle] < row) low = middle + 1; else high = middle;
  }
  return low;
}

// The row of a moment, which may lie between two steps.
function rowAt(positions, at) {
  let next = steps.findIndex((step) => step.at >= at);
  if (next < 0) return positions[last];
  const from = steps[next - 1];
  if (!from || steps[next].at === from.at) return positions[next];
  return positions[next - 1] + (positions[next] - positions[next - 1]) * (at - from.at) / (steps[next].at - from.at);
}

const seconds = (micros) => `${(micros / 1e6).toFixed(6).replace(/(\d{3})$/, "\u2009$1")}`;
function span(micros) {
  if (micros >= 1e6) return `${(micros / 1e6).toFixed(micros >= 1e7 ? 1 : 2)} s`;
  if (micros >= 1e3) return `${(micros / 1e3).toFixed(micros >= 1e5 ? 0 : 1)} ms`;
  return `${micros} µs`;
}
