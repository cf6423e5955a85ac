// The page: messages in, picture, charts, people and events out.

import { Charts, element } from "./charts.js";
import { isDark, onChange, onPage } from "./colours.js";
import { Events } from "./events.js";
import { Link } from "./link.js";
import { People } from "./people.js";
import { Picture } from "./picture.js";
import { Series } from "./series.js";

const get = (id) => document.getElementById(id);
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const STALE_MS = 2500;

const series = new Series();
const charts = new Charts(get("units"));
const events = new Events(get("events"), get("no-events"));
const state = { link: "connecting", reason: "", status: null, commands: false, paused: false, frameMs: 0, source: 0, sources: [], hello: "" };
let recent = []; // when results came, for the rate

const picture = new Picture(get("picture"), {
  shown: (frame) => link.send({ type: "shown", frame }),
  picked: (id) => people.choose(id),
});
const people = new People(get("people"), get("people-count"), () => { picture.draw(); redraw(); });

const link = new Link({
  state(name, reason) {
    state.link = name;
    state.reason = reason;
    if (name === "open") {
      state.frameMs = performance.now();
      link.send({ type: "watch", source: state.source, pictures: !document.hidden });
    }
    tell();
  },
  message(message) {
    if (message.type === "frame") frame(message);
    else if (message.type === "event") events.add(message, series);
    else if (message.type === "status") status(message);
    else if (message.type === "hello") hello(message);
    else if (message.type === "history") { series.history(message); message.events.forEach((each) => events.add(each, series)); redraw(); }
  },
  picture(frame, source, blob) {
    if (source !== state.source || frozen()) { link.send({ type: "shown", frame }); return; }
    picture.show(frame, blob, series.frames.get(frame));
  },
});

const frozen = () => state.paused && !state.commands;

function hello(message) {
  const text = JSON.stringify(message.aus);
  if (text !== state.hello) {
    state.hello = text;
    series.clear(message.aus);
    events.titles = new Map(message.aus.map(({ name, title }) => [name, title]));
    if (message.aus.length) charts.build(message.aus);
  }
  state.commands = message.commands;
  get("calibrate").hidden = !message.commands;
  state.sources = message.sources;
  get("source-field").hidden = message.sources.length < 2;
  get("source").replaceChildren(...message.sources.map(({ number, name }) => {
    const option = element("option", "", name || "source");
    option.value = number;
    option.selected = number === state.source;
    return option;
  }));
  tell();
}

function frame(message) {
  if (frozen()) return;
  state.frameMs = performance.now();
  series.frame(message);
  if (!message.provisional) recent.push(state.frameMs);
  people.update(series);
  picture.chosen = people.chosen;
  picture.update(message);
  if (!state.status?.age_ms && message.total_ms != null) set("latency", message.total_ms.toFixed(0));
}

function status(message) {
  state.status = message;
  if (state.commands) state.paused = Boolean(message.paused);
  set("engine", message.engine ?? "–");
  if (message.age_ms != null) set("latency", message.age_ms.toFixed(0));
  tell();
}

// One line says how it is: the connection first, then the source.
function condition() {
  if (state.link === "connecting") return ["waiting", "Connecting"];
  if (state.link === "away") return ["bad", state.reason ? `Not connected: ${state.reason}` : "Not connected, trying again"];
  if (state.paused) return ["paused", state.commands ? "Paused" : "Frozen"];
  const { state: name, reason } = state.status ?? {};
  if (name === "lost" || name === "reconnecting") return ["bad", `Camera lost${reason ? `: ${reason}` : ", waiting for it"}`];
  if (name === "closed") return ["ended", reason ? `Ended: ${reason}` : "The source has ended"];
  const silent = performance.now() - state.frameMs > STALE_MS;
  if (name === "opening" || !Number.isFinite(series.now)) return ["waiting", "Opening the source"];
  if (silent) return ["waiting", "No frames come"];
  return ["live", "Live"];
}

function tell() {
  const [kind, text] = condition();
  const pill = get("state");
  if (pill.dataset.state !== kind || get("state-text").textContent !== text) {
    pill.dataset.state = kind;
    get("state-text").textContent = text;
    announce(text);
  }
  const veil = get("veil");
  veil.hidden = kind === "live" && !picture.empty;
  veil.classList.toggle("over", !picture.empty);
  set("veil", kind === "live" ? "Waiting for the first picture" : text);
  get("pause").setAttribute("aria-pressed", String(state.paused));
  set("pause-text", state.commands ? (state.paused ? "Resume" : "Pause") : state.paused ? "Go on" : "Freeze");
  get("pause").disabled = get("calibrate").disabled = state.link !== "open";
  const rows = state.status?.page?.rows;
  get("download").classList.toggle("idle", rows === 0);
  get("download").title = rows == null ? "" : `${rows.toLocaleString("en")} rows`;
}

let pictures = 0;
function everySecond() {
  const now = performance.now();
  recent = recent.filter((at) => now - at < 3000);
  const rate = recent.length > 2 ? (1000 * (recent.length - 1)) / (recent.at(-1) - recent[0]) : state.status?.fps;
  set("fps", rate == null || condition()[0] !== "live" ? "–" : rate.toFixed(rate < 9.95 ? 1 : 0));
  const { viewers, left_out: missed } = state.status?.page ?? {};
  const shown = picture.shown - pictures;
  pictures = picture.shown;
  set("traffic", [
    `${shown} pictures/s`,
    viewers == null ? "" : viewers === 1 ? "1 viewer" : `${viewers} viewers`,
    missed ? `${missed.toLocaleString("en")} frames left out for slow viewers` : "",
  ].filter(Boolean).join(" · "));
  const faces = [...series.people.values()].filter(({ gone }) => !gone).length;
  get("picture").setAttribute("aria-label", `Live picture, ${faces === 0 ? "nobody in it" : faces === 1 ? "1 person" : `${faces} people`}`);
  tell();
}

function redraw() {
  const person = series.people.get(people.chosen) ?? null;
  charts.draw(person, series.now);
  set("whose", person ? `Person ${person.id}${person.gone ? ", no longer in the picture" : ", the last minute"}` : "Nobody in the picture");
  document.documentElement.style.setProperty("--person", person ? onPage(person.id) : "var(--accent)");
}

let drawnMs = 0;
function tick(nowMs) {
  requestAnimationFrame(tick);
  if (nowMs - drawnMs < (calm.matches ? 1000 : 100) || (frozen() && drawnMs)) return;
  drawnMs = nowMs;
  redraw();
}

function set(id, text) {
  const node = get(id);
  if (node.textContent !== text) node.textContent = text;
}

let toastTimer = 0;
function toast(text) {
  clearTimeout(toastTimer);
  const node = get("toast");
  node.textContent = text;
  node.hidden = false;
  toastTimer = setTimeout(() => { node.hidden = true; }, 6000);
}

function announce(text) { get("announce").textContent = text; }

get("pause").addEventListener("click", async () => {
  if (!state.commands) { state.paused = !state.paused; tell(); return; }
  const { result, error } = await link.command(state.paused ? "resume" : "pause");
  if (error) toast(`That did not work: ${error}`);
  else { state.paused = Boolean(result.paused ?? !state.paused); tell(); }
});

get("calibrate").addEventListener("click", () => {
  const who = people.chosen;
  set("calibration-who", who === null ? "everybody" : `person ${who}`);
  get("calibration").returnValue = "";
  get("calibration").showModal();
});
get("calibration").addEventListener("close", async () => {
  if (get("calibration").returnValue !== "go") return;
  const face = people.chosen;
  const name = state.sources.length > 1 ? state.sources[state.source]?.name : undefined;
  const { error } = await link.command("calibrate", { ...(face === null ? {} : { face }), ...(name ? { source: name } : {}) });
  toast(error ? `Not calibrated: ${error}` : "Calibrated: this face counts as rest now");
});

get("download").addEventListener("click", (event) => {
  if (state.status?.page?.rows === 0) { event.preventDefault(); toast("There is no table yet: no face was seen"); }
});

get("source").addEventListener("change", (event) => {
  state.source = Number(event.target.value);
  state.status = null;
  series.clear(series.units);
  events.clear();
  people.update(series);
  picture.clear();
  link.send({ type: "watch", source: state.source, pictures: true });
  redraw();
});

get("read-out").addEventListener("change", (event) => get("events").setAttribute("aria-live", event.target.checked ? "polite" : "off"));

const THEMES = { auto: "automatic", light: "light", dark: "dark" };
function tellTheme() { set("theme-text", `Colours: ${THEMES[window.aunetTheme.get()]}`); people.paint(); redraw(); }
get("theme").addEventListener("click", () => {
  const next = window.aunetTheme.get() === "auto" ? (isDark() ? "light" : "dark") : "auto";
  window.aunetTheme.set(next);
  tellTheme();
  announce(`Colours: ${THEMES[next]}`);
});
onChange(tellTheme);
tellTheme();

document.addEventListener("visibilitychange", () => link.send({ type: "watch", source: state.source, pictures: !document.hidden }));
setInterval(everySecond, 1000);
requestAnimationFrame(tick);
tell();
