// Events as a list, the newest first: one line for each, from its onset on.

import { element } from "./charts.js";
import { onPage } from "./colours.js";

const MOST = 60;

export class Events {
  #lines = new Map();
  titles = new Map();

  constructor(list, empty) {
    this.list = list;
    this.empty = empty;
  }

  clear() {
    this.#lines.clear();
    this.list.replaceChildren();
    this.empty.hidden = false;
  }

  add(event, series) {
    const onset = event.timestamp_s - event.duration_s;
    const key = `${event.face} ${event.au} ${onset.toFixed(1)}`;
    let line = this.#lines.get(key);
    if (!line) {
      line = this.#line(event, onset, series);
      this.#lines.set(key, line);
      this.list.prepend(line.item);
      this.empty.hidden = true;
      if (this.#lines.size > MOST) {
        const [oldest, { item }] = this.#lines.entries().next().value;
        item.remove();
        this.#lines.delete(oldest);
      }
    }
    const over = event.phase === "offset" || line.item.dataset.over === "yes";
    line.item.dataset.over = over ? "yes" : "no";
    if (event.phase === "offset") line.length.textContent = `${event.duration_s.toFixed(1)} s`;
    line.peak.textContent = event.peak.toFixed(2);
  }

  #line({ au, face }, onset, series) {
    const item = element("li");
    const at = new Date(Date.now() - 1000 * Math.max(0, Number.isFinite(series.now) ? series.now - onset : 0));
    const time = element("time", "", at.toLocaleTimeString("en-GB"));
    time.dateTime = at.toISOString();
    const swatch = element("span", "swatch");
    swatch.style.backgroundColor = onPage(face);
    const what = element("span", "what");
    what.append(element("b", "", au), " ", element("span", "title", this.titles.get(au) ?? ""));
    const who = element("span", "whom", `Person ${face}`);
    const length = element("span", "length", "going on");
    const peak = element("span", "peak");
    peak.title = "peak";
    const peakOf = element("span", "peak-of");
    peakOf.append("peak ", peak);
    item.append(time, swatch, what, who, peakOf, length);
    return { item, length, peak };
  }
}
