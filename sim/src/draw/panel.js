// The panel beside the picture: the selected step, what it led to, and what the server knows after it.

function element(tag, properties, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children.filter((child) => child !== null));
  return node;
}

// Text in which connections can be clicked, and are said to be whose.
function linked(text, find) {
  const parts = text.split(new RegExp(`(${NAME.source}|${QUOTED.source})`));
  return parts.map((part, place) => {
    if (place % 2 === 0) return part;
    const connection = part.startsWith("c") ? named.get(part) : null;
    if (!connection && !part.startsWith('"')) return part;
    const wanted = connection ? `#${connection.number}` : part;
    const link = element("a", { textContent: part, title: `Search for ${wanted}`, onclick: () => find(wanted) });
    if (!connection) return link;
    const whose = run.lanes[connection.client?.who] ?? "?";
    return element("span", {}, link, element("span", { className: "tag", textContent: ` ${whose}` }));
  });
}

function goto(text, index, select) {
  return element("a", { textContent: text, title: `Go to step ${index}`, onclick: () => select(index) });
}

function told(step, arrow, text, find, select) {
  const item = element("li", {}, ...linked(text, find));
  if (!arrow) return item;
  if (arrow.to === null) {
    item.append(element("span", { className: "lost", textContent: arrow.underWay ? " — under way at the end" : " — did not arrive" }));
  } else {
    const after = span(steps[arrow.to].at - step.at);
    item.append(element("span", { className: "tag" }, " — ", goto(`${run.lanes[steps[arrow.to].who]}, ${after} later`, arrow.to, select)));
  }
  return item;
}

function aboutStep(step, find, select) {
  const lane = run.lanes[step.who] ?? (step.event[0] === "fail" ? "the whole run" : "the network and the hosts");
  const nodes = [
    element("h2", { textContent: lane }),
    element("p", { className: "when", textContent: `step ${step.index} of ${last}, at ${seconds(step.at)} s` }),
  ];
  if (step.broken) {
    nodes.push(element("p", { className: "broken" }, ...linked(step.broken, find)));
  }
  const event = told(step, null, step.event[1], find, select);
  const cause = step.cause;
  if (cause) {
    const ago = span(step.at - steps[cause.from].at);
    event.append(element("span", { className: "tag" }, " — ", goto(`from ${run.lanes[cause.who]}, ${ago} before`, cause.from, select)));
  }
  if (step.event[1] !== step.broken) nodes.push(element("ul", {}, event));
  if (step.actions.length > 0) {
    const left = [...step.sent];
    const items = step.actions.map(([colour, text, id]) => {
      const number = named.get(id)?.number;
      const place = left.findIndex((arrow) => arrow.colour === colour && (arrow.number ?? undefined) === number);
      const arrow = place < 0 ? null : left.splice(place, 1)[0];
      return told(step, arrow, `→ ${text}`, find, select);
    });
    nodes.push(element("h3", { textContent: "what it did" }), element("ul", {}, ...items));
  } else if (step.who !== null) {
    nodes.push(element("p", { className: "tag", textContent: "and did nothing" }));
  }
  return nodes;
}

function aboutServer(index, find) {
  const nodes = [];
  const known = knownAt(index);
  const forgotten = steps[index].forgotten;
  for (const [kind] of forgotten) if (!known.has(kind)) known.set(kind, []);
  for (const [kind, facts] of [...known].sort(([one], [other]) => (one < other ? -1 : 1))) {
    const learnt = steps[index].learnt.filter(([of]) => of === kind).map(([, fact]) => fact);
    const gone = forgotten.filter(([of]) => of === kind).map(([, fact]) => fact);
    const line = (className) => (fact) => element("li", { className }, ...linked(fact, find));
    nodes.push(
      element("h3", { textContent: `server: ${facts.length} ${kind}` }),
      element("ul", { className: facts.every((fact) => /^\S+$/.test(fact)) ? "names" : "" }, ...facts.map((fact) => {
        const place = learnt.indexOf(fact);
        if (place >= 0) learnt.splice(place, 1);
        return line(place >= 0 ? "learnt" : "")(fact);
      }), ...gone.map(line("forgotten"))),
    );
  }
  return nodes.length > 0 ? nodes : [element("h3", { textContent: "server: knows nothing yet" })];
}

function aboutNetwork(index, select) {
  const under = arrows.filter((arrow) => arrow.from <= index && (arrow.underWay || (arrow.to !== null && arrow.to > index)));
  const nodes = [];
  const now = run.faults.filter((fault) => fault.from <= index && (fault.to === null || fault.to >= index)
    && (fault.until === null || fault.until >= steps[index].at));
  if (now.length > 0) {
    nodes.push(element("h3", { textContent: "faults now" }), element("ul", {}, ...now.map((fault) =>
      element("li", { className: "fault" }, goto(`${run.lanes[fault.lane]}: ${fault.name}`, fault.from, select)))));
  }
  nodes.push(element("h3", { textContent: `on the way: ${under.length}` }));
  const most = 40;
  nodes.push(element("ul", {}, ...under.slice(0, most).map((arrow) =>
    element("li", {}, goto(`${run.lanes[arrow.who]} → ${run.lanes[arrow.other]}`, arrow.from, select), ` ${arrow.text}`))));
  if (under.length > most) nodes.push(element("p", { className: "tag", textContent: `and ${under.length - most} more` }));
  return nodes;
}

// Shows the step; `find` searches, `select` goes to a step.
function showPanel(index, find, select) {
  const panel = document.getElementById("panel");
  panel.replaceChildren(
    ...aboutStep(steps[index], find, select),
    ...aboutServer(index, find),
    ...aboutNetwork(index, select),
  );
  panel.scrollTop = 0;
}

// The head of the page and its legend.
function showHead() {
  document.title = run.title;
  const head = document.getElementById("verdict");
  const failed = verdict.rule !== undefined;
  head.classList.toggle("failed", failed);
  const underWay = arrows.filter((arrow) => arrow.underWay).length;
  const lost = arrows.filter((arrow) => arrow.to === null).length - underWay;
  const facts = [
    `${steps.length} steps`, `${span(verdict.at)} of virtual time`, `${arrows.length} arrows, ${lost} did not arrive${underWay > 0 ? `, ${underWay} under way at the end` : ""}`,
    `${run.faults.length} faults`, run.weather, `trace ${verdict.hash}`,
  ];
  head.append(
    element("span", { className: "mark", textContent: failed ? "FAILED" : "PASSED" }),
    element("b", { textContent: run.title }),
    ...(failed ? [element("span", { className: "rule", textContent: `${verdict.kind === "Correctness" ? "a rule was broken: " : ""}${verdict.rule}` })] : []),
    element("span", { className: "facts", textContent: facts.join(" · ") }),
  );
  document.getElementById("failure").hidden = !failed;
  const legend = document.getElementById("legend");
  const entry = (className, style, text) => {
    const sample = element("i", { className });
    for (const [property, value] of Object.entries(style)) sample.style[property] = value;
    legend.append(element("span", {}, sample, text));
  };
  const colours = new Set(arrows.map((arrow) => arrow.colour));
  for (const colour of colours) entry("", { borderColor: `var(--${paint(colour)})` }, colour);
  entry("", { borderColor: "var(--faint)", borderTopStyle: "dashed" }, "did not arrive ✕");
  entry("dot", { borderColor: "var(--local)" }, "timer or caller");
  entry("band", { background: "var(--fault)" }, "link fault");
  entry("band", { background: "var(--down)" }, "host fault");
  if (failed) entry("dot", { borderColor: "var(--fail)", background: "var(--fail)" }, "the failure");
}

const COLOURS = ["message", "ok", "error", "close", "open", "local", "note", "fail"];
// The words of a protocol that has no colour of its own are shown as messages.
const paint = (colour) => (COLOURS.includes(colour) ? colour : "message");
