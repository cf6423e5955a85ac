// The live picture, and what was found in it: drawn from the data of the picture's own frame.

import { onPicture } from "./colours.js";

const MOST_UNITS = 4; // named beside a face

export class Picture {
  #image = null;
  #faces = null;
  #frame = -1;
  #busy = false;
  #waiting = null;
  shown = 0;

  // shown(frame) tells the server that there is room for the next one; picked(id): somebody clicked on a face
  constructor(canvas, { shown, picked }) {
    this.canvas = canvas;
    this.onShown = shown;
    this.chosen = null;
    canvas.addEventListener("click", (event) => {
      const id = this.#faceAt(event.offsetX, event.offsetY);
      if (id !== null) picked(id);
    });
    canvas.addEventListener("pointermove", (event) => {
      canvas.classList.toggle("over-face", this.#faceAt(event.offsetX, event.offsetY) !== null);
    });
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  async show(frame, blob, faces) {
    if (this.#busy) { this.#waiting = [frame, blob, faces]; return; }
    this.#busy = true;
    try {
      const image = await createImageBitmap(blob);
      this.#image?.close();
      this.#image = image;
      this.#faces = faces ?? null;
      this.#frame = frame;
      this.shown += 1;
      this.canvas.parentElement.style.aspectRatio = `${image.width} / ${image.height}`;
      this.draw();
    } catch { /* a damaged picture: the next one comes */ }
    this.onShown(frame);
    this.#busy = false;
    if (this.#waiting) { const next = this.#waiting; this.#waiting = null; this.show(...next); }
  }

  // Data of the frame that is shown, where they come after its picture or are final now.
  update(message) {
    if (message.frame % 2 ** 32 === this.#frame && this.#image) { this.#faces = message; this.draw(); }
  }

  clear() {
    this.#image?.close();
    this.#image = this.#faces = null;
    this.draw();
  }

  get empty() { return this.#image === null; }

  #place(width, height) {
    const scale = Math.min(width / this.#image.width, height / this.#image.height);
    const w = this.#image.width * scale, h = this.#image.height * scale;
    return { left: (width - w) / 2, top: (height - h) / 2, w, h };
  }

  #faceAt(x, y) {
    if (!this.#image || !this.#faces) return null;
    const { left, top, w } = this.#place(this.canvas.clientWidth, this.canvas.clientHeight);
    const scale = this.#faces.width / w;
    const px = (x - left) * scale, py = (y - top) * scale;
    const hit = this.#faces.faces.find(({ box }) => px >= box.x && px <= box.x + box.width && py >= box.y && py <= box.y + box.height);
    return hit ? hit.id : null;
  }

  draw() {
    const { canvas } = this;
    const ratio = Math.min(devicePixelRatio || 1, 2);
    const width = Math.round(canvas.clientWidth * ratio), height = Math.round(canvas.clientHeight * ratio);
    if (!width || !height) return;
    if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, width, height);
    if (!this.#image) return;
    const { left, top, w, h } = this.#place(width, height);
    pen.drawImage(this.#image, left, top, w, h);
    if (!this.#faces?.faces.length) return;
    pen.save();
    pen.translate(left, top);
    const scale = w / this.#faces.width;
    for (const face of this.#faces.faces) this.#outline(pen, face, scale, ratio, w, h);
    for (const face of this.#faces.faces) this.#label(pen, face, scale, ratio, w, h);
    pen.restore();
  }

  #outline(pen, face, scale, ratio, w, h) {
    const colour = onPicture(face.id), chosen = face.id === this.chosen;
    const x = face.box.x * scale, y = face.box.y * scale, bw = face.box.width * scale, bh = face.box.height * scale;
    const arm = Math.min(bw, bh) * 0.18, round = 6 * ratio;
    const path = new Path2D();
    for (const [cx, cy, sx, sy] of [[x, y, 1, 1], [x + bw, y, -1, 1], [x + bw, y + bh, -1, -1], [x, y + bh, 1, -1]]) {
      path.moveTo(cx + sx * arm, cy);
      path.arcTo(cx, cy, cx, cy + sy * arm, round);
      path.lineTo(cx, cy + sy * arm);
    }
    pen.lineCap = "round";
    pen.strokeStyle = "rgb(0 0 0 / .55)";
    pen.lineWidth = (chosen ? 5 : 4) * ratio;
    pen.stroke(path);
    pen.strokeStyle = colour;
    pen.lineWidth = (chosen ? 2.5 : 1.75) * ratio;
    pen.stroke(path);
    if (!chosen || !face.points || bw < 60 * ratio) return;
    const radius = Math.max(1.4 * ratio, bw / 130);
    pen.fillStyle = colour;
    pen.globalAlpha = 0.9;
    pen.beginPath();
    for (let i = 0; i < face.points.length; i += 2) {
      const px = face.points[i] * scale, py = face.points[i + 1] * scale;
      if (px < 0 || py < 0 || px > w || py > h) continue;
      pen.moveTo(px + radius, py);
      pen.arc(px, py, radius, 0, 7);
    }
    pen.fill();
    pen.globalAlpha = 1;
  }

  #label(pen, face, scale, ratio, w, h) {
    const active = Object.entries(face.aus).filter(([, au]) => au.active && au.valid !== false)
      .sort(([, a], [, b]) => b.probability - a.probability).map(([name]) => name);
    const more = active.length > MOST_UNITS ? ` +${active.length - MOST_UNITS}` : "";
    const units = active.slice(0, MOST_UNITS).sort((a, b) => a.slice(2) - b.slice(2)).join("  ") + more;
    const size = 12.5 * ratio, pad = 7 * ratio, tall = size + 2 * 5 * ratio;
    pen.font = `600 ${size}px ui-sans-serif, system-ui, sans-serif`;
    pen.textBaseline = "middle";
    const id = String(face.id);
    const idWide = Math.max(pen.measureText(id).width + 2 * pad, tall);
    pen.font = `500 ${size}px ui-sans-serif, system-ui, sans-serif`;
    const wide = idWide + (units ? pen.measureText(units).width + 2 * pad : 0);
    const x = Math.min(Math.max(0, face.box.x * scale), Math.max(0, w - wide));
    const above = face.box.y * scale - tall - 8 * ratio, below = (face.box.y + face.box.height) * scale + 8 * ratio;
    const y = above >= 0 ? above : Math.min(below, h - tall);
    pen.fillStyle = "rgb(12 16 19 / .82)";
    pen.beginPath(); pen.roundRect(x, y, wide, tall, 6 * ratio); pen.fill();
    pen.fillStyle = onPicture(face.id);
    pen.beginPath(); pen.roundRect(x, y, idWide, tall, units ? [6 * ratio, 0, 0, 6 * ratio] : 6 * ratio); pen.fill();
    pen.fillStyle = "#fff";
    if (units) pen.fillText(units, x + idWide + pad, y + tall / 2 + ratio / 2);
    pen.font = `700 ${size}px ui-sans-serif, system-ui, sans-serif`;
    pen.fillStyle = "#0c1013";
    pen.fillText(id, x + (idWide - pen.measureText(id).width) / 2, y + tall / 2 + ratio / 2);
  }
}
