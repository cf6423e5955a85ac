// Who is in the picture, and whose Action Units are shown: the largest face, or the one that was picked.

import { element } from "./charts.js";
import { onPage } from "./colours.js";

const PATIENCE_S = 1; // so long a face may be away before another one is followed

export class People {
  #chips = new Map();
  #picked = null; // null: whoever is largest
  chosen = null;

  constructor(root, count, changed) {
    this.root = root;
    this.count = count;
    this.changed = changed;
    this.#chip(null, "Largest face");
    root.addEventListener("change", ({ target }) => {
      this.#picked = target.value === "" ? null : Number(target.value);
      this.#choose(this.series);
      this.changed();
    });
  }

  choose(id) {
    this.#picked = id;
    const input = this.#chips.get(id)?.input;
    if (input) input.checked = true;
    this.#choose(this.series);
    this.changed();
  }

  update(series) {
    this.series = series;
    for (const [id, chip] of this.#chips) {
      if (id !== null && !series.people.has(id)) {
        if (this.#picked === id) this.#picked = null;
        chip.label.remove();
        this.#chips.delete(id);
      }
    }
    let here = 0;
    for (const person of series.people.values()) {
      const chip = this.#chips.get(person.id) ?? this.#chip(person.id, `Person ${person.id}`);
      here += !person.gone;
      const note = person.gone ? "left" : glance(person.face);
      if (chip.note.textContent !== note) chip.note.textContent = note;
      chip.label.classList.toggle("gone", person.gone);
    }
    const text = here ? `${here} in the picture` : "nobody in the picture";
    if (this.count.textContent !== text) this.count.textContent = text;
    this.#choose(series);
    const input = this.#chips.get(this.#picked)?.input;
    if (input && !input.checked) input.checked = true;
  }

  #choose(series) {
    if (!series) return;
    if (this.#picked !== null) { this.chosen = this.#picked; return; }
    const current = series.people.get(this.chosen);
    if (current && series.now - current.last < PATIENCE_S && !current.gone) {
      const larger = largest(series);
      if (larger && larger !== current && area(larger) > 1.5 * area(current)) this.chosen = larger.id;
      return;
    }
    const next = largest(series);
    if (next) this.chosen = next.id;
    else if (!current) this.chosen = null;
  }

  #chip(id, text) {
    const label = element("label", "chip");
    const input = element("input");
    Object.assign(input, { type: "radio", name: "person", value: id ?? "", checked: id === this.#picked });
    const note = element("span", "note");
    const swatch = element("span", id === null ? "swatch any" : "swatch");
    label.append(input, swatch, element("span", "who", text), note);
    this.root.append(label);
    const chip = { label, input, note, swatch };
    this.#chips.set(id, chip);
    this.#colour(id, chip);
    return chip;
  }

  #colour(id, { swatch }) { if (id !== null) swatch.style.backgroundColor = onPage(id); }

  paint() { for (const [id, chip] of this.#chips) this.#colour(id, chip); }
}

const area = ({ face }) => face.box.width * face.box.height;

function largest(series) {
  let best = null;
  for (const person of series.people.values()) {
    if (!person.gone && person.face && (!best || area(person) > area(best))) best = person;
  }
  return best;
}

function glance({ pose, aus }) {
  if (Math.abs(pose.yaw_deg ?? 0) > 25) return "turned away";
  const active = Object.values(aus).filter((au) => au.active && au.valid !== false).length;
  return active ? `${active} active` : "none active";
}
