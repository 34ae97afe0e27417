// The explorer's page: a state, what changes it, and the requests that show it.
//
// The state is all that the picture depends on; its name (see nameOf) is the path of the requests
// and the end of the page's address. The view is how attention is shown.

import { Controls } from "./controls.js";
import { Overlay } from "./overlay.js";

const $ = (id) => document.getElementById(id);
const MAX_NEW_SEED = 100000; // random seeds stay short, and so do names
const SAME_STEP_MS = 900; // changes of one kind within this time are undone together
const MODES = ["off", "hover", "regions", "mixture"];

let model; // facts about it, as the server gives them
let state; // {seed, class_idx, psi, rerolls: {latent: seed}, mix_seed, mix_layers, noise_mode}
let view = { mode: "hover", layer: 0, head: null, focus: null };
let overlay, controls;
const past = [], future = [];
let lastKind = null, lastTime = 0;
const shown = { picture: null, maps: null, regions: null };
let isBusy = false;
let pointer = null; // the last event of the mouse over the picture

const randomSeed = () => Math.floor(Math.random() * MAX_NEW_SEED);

// ------------------------------------------------------------------------------------ the state

function ranges(numbers) {
  const found = [];
  for (const number of numbers) {
    const last = found[found.length - 1];
    if (last && number === last[1] + 1) last[1] = number;
    else found.push([number, number]);
  }
  return found.map(([a, b]) => (a === b ? `${a}` : `${a}-${b}`)).join(",");
}

// As State.name does it on the server.
function nameOf(s) {
  const parts = [`seed${String(s.seed).padStart(4, "0")}`];
  if (s.class_idx !== null) parts.push(`class${s.class_idx}`);
  if (s.psi !== model.psi) parts.push(`psi${Number(s.psi.toPrecision(6))}`);
  for (const [latent, seed] of Object.entries(s.rerolls)) parts.push(`${model.latents[latent]}-${seed}`);
  if (s.mix_layers.length) parts.push(`mix${s.mix_seed}-layers${ranges(s.mix_layers)}`);
  if (s.noise_mode !== "const") parts.push(`noise-${s.noise_mode}`);
  return parts.join("_");
}

// Go to a new state; kind: changes of one kind in quick succession are one step for undo.
function change(parts, kind = null) {
  const next = { ...state, ...parts };
  const isSame = kind && kind === lastKind && Date.now() - lastTime < SAME_STEP_MS;
  if (nameOf(next) !== nameOf(state)) {
    if (!isSame) past.push(state);
    future.length = 0;
    [lastKind, lastTime] = [kind, Date.now()];
  }
  enter(next);
}

function step(from, to) {
  if (!from.length) return;
  to.push(state);
  lastKind = null;
  enter(from.pop());
}

function enter(next) {
  state = next;
  history.replaceState(null, "", `#${nameOf(state)}`);
  render();
  refresh();
}

// The name in the page's address.
function address() {
  const name = location.hash.slice(1);
  try {
    return decodeURIComponent(name);
  } catch {
    return name; // the server says what is wrong with it
  }
}

// Go to the picture of a name, from the address, a dropped file or the seed's field.
async function visit(name) {
  const plain = name.trim().replace(/ ?\(\d+\)(?=\.png$)/, "").replace(/\.(png|npz)$/, "");
  try {
    const { name: _, ...found } = await (await ask(`state/${encodeURIComponent(plain)}.json`)).json();
    found.mix_seed ??= state ? state.mix_seed : randomSeed();
    if (state) change(found);
    else enter(found);
  } catch (error) {
    toast(error.message);
    if (state) enter(state);
    else await visit("seed0000");
  }
}

// ----------------------------------------------------------------------------------- requests

async function ask(path) {
  let answer;
  try {
    answer = await fetch(path);
  } catch {
    throw new Error("The explorer does not answer; is it still running?");
  }
  if (!answer.ok) throw new Error((await answer.text()).trim());
  return answer;
}

// Show the newest state: one request at a time, the picture first; what is outdated is left out.
async function refresh() {
  if (isBusy) return;
  isBusy = true;
  document.body.classList.add("busy");
  const hasAttention = model.attention.length > 0;
  try {
    for (;;) {
      const name = nameOf(state);
      const head = view.head === null ? "" : `head=${view.head}`;
      const maps = `attention/${name}.f32?layer=${view.layer}&${head}`;
      const regions = `regions/${name}.png?${head}`;
      if (shown.picture !== name) await showPicture(name);
      else if (hasAttention && shown.maps !== maps) await showMaps(maps);
      else if (hasAttention && shown.regions !== regions) await showRegions(regions);
      else break;
    }
  } catch (error) {
    toast(error.message);
  } finally {
    isBusy = false;
    document.body.classList.remove("busy");
  }
}

async function showPicture(name) {
  const path = `image/${name}.png`;
  $("picture").src = path;
  try {
    await $("picture").decode();
  } catch {
    await ask(path); // says why
    throw new Error("The picture could not be shown.");
  }
  shown.picture = name;
  $("picture").alt = name;
}

async function showMaps(path) {
  const answer = await ask(path);
  const [, height, width] = answer.headers.get("X-Shape").split(",").map(Number);
  overlay.setMaps(new Float32Array(await answer.arrayBuffer()), height, width);
  shown.maps = path;
  render();
  if (pointer) onHover(pointer); // the pixel under it may have a new owner
}

async function showRegions(path) {
  const image = new Image();
  image.src = path;
  await image.decode();
  shown.regions = path;
  controls.showRegions(image);
}

// ------------------------------------------------------------------------------------- actions

const actions = {
  seed: (seed) => change({ seed: Math.min(Math.max(seed, 0), model.max_seed) }),
  previous: () => actions.seed(state.seed - 1),
  next: () => actions.seed(state.seed + 1),
  random: () => actions.seed(randomSeed()),
  setClass: (class_idx) => change({ class_idx }),
  psi: (psi) => change({ psi: Number(psi.toFixed(2)) }, "psi"),
  lessPsi: () => actions.psi(Math.max(0, state.psi - 0.05)),
  morePsi: () => actions.psi(Math.min(1.5, state.psi + 0.05)),
  noise: (noise_mode) => change({ noise_mode }),
  nextNoise: () => actions.noise(after(model.noise_modes, state.noise_mode)),
  reroll(latent) {
    if (model.latents.length < 2 || latent >= model.latents.length) return;
    change({ rerolls: { ...state.rerolls, [latent]: randomSeed() } });
  },
  rerollGlobal() {
    if (model.latents.includes("global")) actions.reroll(model.latents.indexOf("global"));
  },
  giveBack(latent) {
    const { [latent]: _, ...rerolls } = state.rerolls;
    change({ rerolls });
  },
  restore: () => change({ rerolls: {} }),
  mixSeed: (mix_seed) => change({ mix_seed: Math.min(Math.max(mix_seed, 0), model.max_seed) }),
  mixRandom: () => actions.mixSeed(randomSeed()),
  layers: (mix_layers) => change({ mix_layers: [...mix_layers].sort((a, b) => a - b) }),
  undo: () => step(past, future),
  redo: () => step(future, past),
  show(parts) {
    if (!model.attention.length) return;
    view = { ...view, ...parts };
    render();
    refresh();
  },
  nextMode: () => actions.show({ mode: after(MODES, view.mode) }),
  nextLayer: (by) =>
    actions.show({ layer: Math.min(Math.max(view.layer + by, 0), model.attention.length - 1) }),
  focus(latent) {
    if (latent === view.focus) return;
    view.focus = latent;
    overlay.draw(view.mode, latent);
    controls.showFocus(latent);
  },
  visit,
  save: () => $("save-link").click(),
  saveLatents: () => $("latents-link").click(),
  async copy() {
    try {
      await navigator.clipboard.writeText(location.href);
      toast("Address copied");
    } catch {
      toast(location.href); // to be copied by hand
    }
  },
  help: () => ($("help").open ? $("help").close() : $("help").showModal()),
};

const after = (items, item) => items[(items.indexOf(item) + 1) % items.length];

const KEYS = {
  ArrowLeft: actions.previous,
  ArrowRight: actions.next,
  r: actions.random,
  "-": actions.lessPsi,
  "+": actions.morePsi,
  "=": actions.morePsi,
  g: actions.rerollGlobal,
  x: actions.restore,
  m: actions.mixRandom,
  n: actions.nextNoise,
  a: actions.nextMode,
  ",": () => actions.nextLayer(-1),
  ".": () => actions.nextLayer(1),
  u: actions.undo,
  y: actions.redo,
  s: actions.save,
  l: actions.saveLatents,
  c: actions.copy,
  "?": actions.help,
};

function onKey(event) {
  const isTyping = event.target.matches("input.number, select");
  if (isTyping || event.altKey || ($("help").open && event.key !== "?")) return;
  if (event.ctrlKey || event.metaKey) {
    if (event.key.toLowerCase() !== "z") return;
    event.preventDefault();
    (event.shiftKey ? actions.redo : actions.undo)();
    return;
  }
  if (event.target.matches("input[type=range]") && event.key.startsWith("Arrow")) return;
  const last = model.latents.length - model.latents.includes("global");
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (/^\d$/.test(event.key) && Number(event.key) < last) actions.reroll(Number(event.key));
  else if (KEYS[key]) KEYS[key]();
  else return;
  event.preventDefault();
}

// --------------------------------------------------------------------------------------- page

function render() {
  const name = nameOf(state);
  controls.show(state, view, overlay.shares, {
    name,
    canUndo: past.length > 0,
    canRedo: future.length > 0,
  });
  overlay.draw(view.mode, view.focus);
}

let toastTimer;
function toast(text) {
  $("toast").textContent = text;
  $("toast").hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => ($("toast").hidden = true), 5000);
}

// The latent under the cursor, its name and weight beside it.
function onHover(event) {
  const tip = $("tip");
  pointer = event;
  const box = $("overlay").getBoundingClientRect();
  const found = view.mode !== "off" &&
    overlay.at((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
  tip.hidden = !found;
  if (!found) return;
  actions.focus(found.latent);
  tip.children[0].style.background = overlay.colors[found.latent];
  tip.children[1].textContent = `latent ${found.latent}`;
  tip.children[2].textContent = `${Math.round(found.weight * 100)} %`;
  const rightmost = document.documentElement.clientWidth - tip.offsetWidth - 8;
  tip.style.left = `${Math.max(8, Math.min(event.clientX + 16, rightmost))}px`;
  tip.style.top = `${event.clientY + 16}px`;
}

function listen() {
  const stage = $("stage");
  stage.addEventListener("pointermove", onHover);
  stage.addEventListener("pointerleave", () => {
    pointer = null;
    $("tip").hidden = true;
    actions.focus(null);
  });
  stage.addEventListener("click", () => {
    if (view.mode !== "off" && view.focus !== null) actions.reroll(view.focus);
  });
  document.addEventListener("keydown", onKey);
  window.addEventListener("resize", render);
  window.addEventListener("hashchange", () => visit(address()));
  for (const kind of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      document.body.classList.toggle("dropping", kind === "dragover");
      const file = kind === "drop" && event.dataTransfer.files[0];
      if (file) visit(file.name);
    });
  }
}

async function start() {
  try {
    model = await (await ask("model.json")).json();
  } catch (error) {
    toast(error.message);
    return;
  }
  view.layer = model.attention.length - 1;
  overlay = new Overlay($("overlay"), model.colors);
  controls = new Controls(model, actions);
  listen();
  await visit(address() || "seed0000");
}

start();
