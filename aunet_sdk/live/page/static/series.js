// What was measured in the last minute, person by person, in rings of fixed size.

const KEPT = 4096;
const MOST_PEOPLE = 40;
export const SPAN_S = 60;
export const SEEN = 0, ACTIVE = 1, HIDDEN = 2;

export class Person {
  constructor(id, count) {
    this.id = id;
    this.count = count;
    this.times = new Float64Array(KEPT);
    this.values = new Float32Array(KEPT * count);
    this.kinds = new Uint8Array(KEPT * count);
    this.begin = 0;
    this.end = 0; // both only grow; the place is their remainder
    this.face = null;
    this.gone = false;
  }

  get last() { return this.end > this.begin ? this.times[(this.end - 1) % KEPT] : -Infinity; }

  add(time, fill) {
    const replaced = time === this.last;
    if (time < this.last) return;
    const place = (replaced ? this.end - 1 : this.end) % KEPT;
    this.times[place] = time;
    fill(this.values, this.kinds, place * this.count);
    if (replaced) return;
    this.end += 1;
    if (this.end - this.begin > KEPT) this.begin += 1;
    while (this.begin < this.end && this.times[this.begin % KEPT] < time - SPAN_S - 1) this.begin += 1;
  }

  // visit(time, value, kind) for one AU, oldest first
  each(unit, visit) {
    for (let i = this.begin; i < this.end; i++) {
      const place = i % KEPT;
      visit(this.times[place], this.values[place * this.count + unit], this.kinds[place * this.count + unit]);
    }
  }
}

export class Series {
  constructor() { this.clear([]); }

  clear(units) {
    this.units = units; // [{name, title, threshold}]
    this.people = new Map();
    this.now = -Infinity;
    this.frames = new Map(); // faces by frame, for pictures that come after their data
  }

  frame(message) {
    if (message.timestamp_s < this.now - 1) { // the source began anew
      this.people.clear();
      this.frames.clear();
    }
    this.now = message.timestamp_s;
    this.frames.set(message.frame, message);
    if (this.frames.size > 120) this.frames.delete(this.frames.keys().next().value);
    const here = new Set();
    for (const face of message.faces) {
      here.add(face.id);
      const person = this.#person(face.id);
      person.face = face;
      person.add(message.timestamp_s, (values, kinds, at) => {
        this.units.forEach(({ name }, i) => {
          const au = face.aus[name];
          values[at + i] = au?.probability ?? NaN;
          kinds[at + i] = au?.valid === false ? HIDDEN : au?.active ? ACTIVE : SEEN;
        });
      });
    }
    for (const person of this.people.values()) {
      person.gone = !here.has(person.id);
      if (person.gone && person.last < this.now - SPAN_S) this.people.delete(person.id);
    }
  }

  history(message) {
    for (const [id, { t, p }] of Object.entries(message.faces)) {
      const person = this.#person(Number(id));
      person.gone = true;
      t.forEach((time, k) => person.add(time, (values, kinds, at) => {
        this.units.forEach(({ threshold }, i) => {
          const value = p[k][i] ?? NaN;
          values[at + i] = value;
          kinds[at + i] = threshold != null && value >= threshold ? ACTIVE : SEEN;
        });
      }));
      this.now = Math.max(this.now, person.last);
    }
  }

  #person(id) {
    let person = this.people.get(id);
    if (!person) {
      person = new Person(id, this.units.length);
      this.people.set(id, person);
      if (this.people.size > MOST_PEOPLE) {
        const oldest = [...this.people.values()].reduce((a, b) => (a.last <= b.last && a !== person ? a : b));
        this.people.delete(oldest.id);
      }
    }
    return person;
  }
}
