// One strip chart per Action Unit: the last minute, now at the right edge.

import { onPage, token } from "./colours.js";
import { ACTIVE, HIDDEN, SPAN_S } from "./series.js";

const GAP_S = 0.6; // where nothing was measured for longer, the line breaks
const UPPER_FACE = new Set([1, 2, 4, 5, 6, 7, 43, 45, 46]);
const WHY = {
  cut: "out of frame", small: "too small", turned: "turned away", dark: "too dark", bright: "too bright",
  blurred: "blurred", covered: "covered",
};

export class Charts {
  #rows = [];
  #shown = new Set();
  #watch = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) isIntersecting ? this.#shown.add(target) : this.#shown.delete(target);
  });

  constructor(root) { this.root = root; }

  build(units) {
    this.#watch.disconnect();
    this.#shown.clear();
    this.#rows = [];
    this.root.parentElement.style.setProperty("--rows", Math.max(10, units.length));
    const groups = [["Upper face", []], ["Lower face", []]];
    units.forEach((unit, i) => groups[UPPER_FACE.has(Number(unit.name.slice(2))) ? 0 : 1][1].push([unit, i]));
    this.root.replaceChildren(...groups.filter(([, list]) => list.length).map(([name, list]) => {
      const section = element("section", "group");
      const heading = element("h3", "", name);
      heading.id = `group-${name[0]}`;
      const rows = element("ul");
      rows.setAttribute("aria-labelledby", heading.id);
      rows.append(...list.map(([unit, i]) => this.#row(unit, i)));
      section.append(heading, rows);
      return section;
    }));
  }

  #row(unit, index) {
    const item = element("li", "unit");
    const name = element("span", "name");
    name.append(element("b", "", unit.name), " ", element("span", "title", unit.title));
    const canvas = element("canvas");
    canvas.setAttribute("aria-hidden", "true");
    const value = element("span", "value", "–");
    item.append(name, canvas, value);
    this.#rows.push({ unit, index, item, canvas, value });
    this.#watch.observe(canvas);
    return item;
  }

  // person: null where nobody is chosen
  draw(person, now) {
    const colours = { line: person ? onPage(person.id) : "", grid: token("--grid"), hatch: token("--hatch"), limit: token("--limit") };
    for (const row of this.#rows) {
      this.#tell(row, person);
      if (this.#shown.has(row.canvas)) draw(row, person, now, colours);
    }
  }

  #tell({ unit, item, value }, person) {
    const au = person && !person.gone ? person.face?.aus[unit.name] : null;
    const hidden = au?.valid === false;
    const text = !au ? "–" : hidden ? WHY[au.why_not] ?? au.why_not : au.probability == null ? "–" : au.probability.toFixed(2);
    if (value.textContent !== text) value.textContent = text;
    const state = !au ? "none" : hidden ? "hidden" : au.active ? "active" : "idle";
    if (item.dataset.state !== state) item.dataset.state = state;
  }
}

function draw({ unit, index, canvas }, person, now, colours) {
  const ratio = Math.min(devicePixelRatio || 1, 2);
  const width = Math.round(canvas.clientWidth * ratio), height = Math.round(canvas.clientHeight * ratio);
  if (!width || !height) return;
  if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
  const pen = canvas.getContext("2d");
  pen.clearRect(0, 0, width, height);
  const top = 2 * ratio, bottom = height - 1.5 * ratio;
  const x = (time) => width - ((now - time) / SPAN_S) * width;
  const y = (value) => bottom - value * (bottom - top);
  pen.lineWidth = ratio;
  pen.strokeStyle = colours.grid;
  pen.beginPath();
  for (const back of [20, 40]) {
    const at = Math.round(x(now - back)) + 0.5;
    pen.moveTo(at, 0); pen.lineTo(at, height);
  }
  pen.moveTo(0, bottom + 0.5 * ratio); pen.lineTo(width, bottom + 0.5 * ratio);
  pen.stroke();
  if (unit.threshold != null) {
    pen.strokeStyle = colours.limit;
    pen.setLineDash([2 * ratio, 3 * ratio]);
    pen.beginPath();
    pen.moveTo(0, y(unit.threshold)); pen.lineTo(width, y(unit.threshold));
    pen.stroke();
    pen.setLineDash([]);
  }
  if (!person) return;

  const line = new Path2D(), area = new Path2D(), hidden = new Path2D();
  let before = -Infinity, lastX = 0, open = false, from = null;
  const endArea = () => { if (from !== null) { area.lineTo(lastX, bottom); area.closePath(); from = null; } };
  person.each(index, (time, value, kind) => {
    const at = x(time);
    if (at < -4) { before = time; lastX = at; return; }
    const broken = time - before > GAP_S || !(value >= 0);
    if (broken) { open = false; endArea(); }
    if (kind === HIDDEN) {
      const left = broken ? at : lastX;
      hidden.rect(left, 0, Math.max(at - left, ratio), height);
      open = false; endArea();
    } else if (value >= 0) {
      const up = y(value);
      if (open) line.lineTo(at, up); else { line.moveTo(at, up); open = true; }
      if (kind === ACTIVE) {
        if (from === null) { from = at; area.moveTo(at, bottom); }
        area.lineTo(at, up);
      } else { if (from !== null) area.lineTo(at, up); lastX = at; endArea(); }
    }
    before = time; lastX = at;
  });
  endArea();
  pen.fillStyle = colours.hatch;
  pen.fill(hidden);
  pen.fillStyle = colours.line;
  pen.globalAlpha = 0.28;
  pen.fill(area);
  pen.globalAlpha = 1;
  pen.strokeStyle = colours.line;
  pen.lineWidth = 1.5 * ratio;
  pen.lineJoin = "round";
  pen.stroke(line);
}

export function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}
