// The controls around the picture: built once from the model's facts, then shown as the state is.

const $ = (id) => document.getElementById(id);
const SMALL = 256; // pictures up to this side are enlarged crisply
const MIN_STAGE = 256;
const FRAME = 298; // what else stands above and below the picture, in CSS pixels
const SIDE = 488; // beside it, where the controls are
const NARROW = 900; // windows up to this width have the controls below

const element = (tag, className, text = "") =>
  Object.assign(document.createElement(tag), { className, textContent: text });

const icon = (name) => {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#${name}`);
  svg.append(use);
  return svg;
};

const press = (button, isPressed) => button.setAttribute("aria-pressed", String(isPressed));

// Black or white, whichever reads better on a colour.
const inkOn = (color) => {
  const [r, g, b] = [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16));
  return 0.299 * r + 0.587 * g + 0.114 * b > 140 ? "#16171a" : "#ffffff";
};

export class Controls {
  // model: the server's facts. actions: what the controls do, see page.js.
  constructor(model, actions) {
    this.model = model;
    this.actions = actions;
    this.describe();
    this.connect();
    this.buildLatents();
    this.buildLayers();
    this.buildAttention();
  }

  describe() {
    const { model } = this;
    const [channels, , width] = model.image;
    const height = Math.round(width * model.ratio);
    const num = model.latents.length - model.latents.includes("global");
    const facts = [`${width}×${height} pixels`];
    if (num > 1) facts.push(`${num} latents${model.latents.includes("global") ? " and a global one" : ""}`);
    if (model.attention.length) facts.push(`attention in ${model.attention.length} layers`);
    if (model.num_classes) facts.push(`${model.num_classes} classes`);
    $("model").textContent = model.model;
    $("facts").textContent = facts.join(" · ");
    document.title = `${model.model} – explorer`;
    $("stage").classList.toggle("small", width <= SMALL);
    $("stage").classList.toggle("clear", channels === 4);
    $("stage").classList.toggle("live", model.attention.length > 0);
    const has = {
      latents: num > 1,
      global: model.latents.includes("global"),
      attention: model.attention.length > 0,
    };
    for (const item of document.querySelectorAll("[data-need]")) item.hidden = !has[item.dataset.need];
  }

  connect() {
    const { actions, model } = this;
    const clicks = {
      previous: actions.previous,
      next: actions.next,
      random: actions.random,
      restore: actions.restore,
      "mix-random": actions.mixRandom,
      "undo-button": actions.undo,
      "redo-button": actions.redo,
      "link-button": actions.copy,
      "help-button": actions.help,
    };
    for (const [id, action] of Object.entries(clicks)) $(id).addEventListener("click", () => action());
    const onNumber = (id, action, otherwise) =>
      $(id).addEventListener("change", () => {
        const text = $(id).value.trim();
        if (/^\d{1,12}$/.test(text)) action(Number(text));
        else otherwise(text);
        $(id).blur();
      });
    onNumber("seed", actions.seed, (text) => actions.visit(text));
    onNumber("mix-seed", actions.mixSeed, () => this.fill());
    $("psi").addEventListener("input", () => actions.psi(Number($("psi").value)));
    for (const button of $("noise").children) {
      button.addEventListener("click", () => actions.noise(button.dataset.noise));
    }
    $("classes").hidden = !model.num_classes;
    for (let i = 0; i < model.num_classes; i++) $("class").append(new Option(`class ${i}`, i));
    $("class").addEventListener("change", () => actions.setClass(Number($("class").value)));
  }

  buildLatents() {
    const { actions, model } = this;
    $("latents-block").hidden = model.latents.length < 2;
    if (model.latents.length < 2) return;
    this.latents = model.latents.map((name, latent) => {
      const isGlobal = name === "global";
      const card = element("div", "latent");
      const roll = element("button", "roll");
      const title = isGlobal ? "global latent" : `latent ${latent}`;
      const key = isGlobal ? " (G)" : latent < 10 ? ` (${latent})` : "";
      roll.title = `A new ${title}${key}`;
      roll.dataset.latent = name;
      const swatch = element("i", "", isGlobal ? "G" : latent);
      const color = model.colors[latent];
      if (color) Object.assign(swatch.style, { background: color, color: inkOn(color) });
      const text = element("span", "");
      text.append(element("b", "", isGlobal ? "global" : title), element("small", ""));
      roll.append(swatch, text, icon("dice"));
      roll.addEventListener("click", () => actions.reroll(latent));
      const back = element("button", "give-back");
      back.title = `Give ${title} back to the seed`;
      back.setAttribute("aria-label", back.title);
      back.append(icon("close"));
      back.addEventListener("click", () => actions.giveBack(latent));
      card.append(roll, back);
      if (!isGlobal && color) {
        card.addEventListener("pointerenter", () => actions.focus(latent));
        card.addEventListener("pointerleave", () => actions.focus(null));
      }
      return card;
    });
    $("latents").append(...this.latents);
  }

  buildLayers() {
    const { actions, model } = this;
    const num = model.layers.length;
    this.layers = model.layers.map((size, layer) => {
      const button = element("button", "", size);
      button.title = `layer ${layer}, ${size}×${size}`;
      button.addEventListener("click", () => {
        const chosen = new Set(this.state.mix_layers);
        if (!chosen.delete(layer)) chosen.add(layer);
        actions.layers(chosen);
      });
      return button;
    });
    $("layers").append(...this.layers);
    const cuts = [0, Math.ceil(num / 3), Math.ceil((2 * num) / 3), num];
    const parts = { none: [0, 0], coarse: [cuts[0], cuts[1]], middle: [cuts[1], cuts[2]], fine: [cuts[2], cuts[3]] };
    for (const button of $("presets").children) {
      const [from, to] = parts[button.dataset.part];
      const layers = Array.from({ length: to - from }, (_, i) => from + i);
      button.addEventListener("click", () => actions.layers(layers));
    }
  }

  buildAttention() {
    const { actions, model } = this;
    $("attention").hidden = !model.attention.length;
    if (!model.attention.length) return;
    for (const button of $("modes").children) {
      button.addEventListener("click", () => actions.show({ mode: button.dataset.mode }));
    }
    this.maps = model.attention.map(({ size }, layer) => {
      const button = element("button", "");
      const thumb = element("i", "");
      thumb.style.height = `${48 * model.ratio}px`;
      button.append(thumb, `${size}×${size}`);
      button.title = `attention layer ${layer}, ${size}×${size}`;
      button.addEventListener("click", () => actions.show({ layer }));
      return button;
    });
    $("maps").append(...this.maps);
    const heads = Math.max(...model.attention.map((layer) => layer.heads));
    $("heads").hidden = heads < 2;
    $("head").append(new Option("mean of all", ""));
    for (let i = 0; i < heads; i++) $("head").append(new Option(i, i));
    $("head").addEventListener("change", () => {
      const value = $("head").value;
      actions.show({ head: value === "" ? null : Number(value) });
    });
  }

  // image: the regions of all layers side by side.
  showRegions(image) {
    this.maps.forEach((button, layer) => {
      const thumb = button.firstChild;
      thumb.style.backgroundImage = `url("${image.src}")`;
      thumb.style.backgroundPosition = `${-48 * layer}px 0`;
    });
  }

  showFocus(latent) {
    this.latents?.forEach((card, i) => card.classList.toggle("focus", i === latent));
  }

  // state, view: see page.js. shares: part of the picture that each latent owns. page: its name,
  // and whether there is something to undo and redo.
  show(state, view, shares, page) {
    this.state = state;
    this.fill();
    $("name").textContent = page.name;
    $("undo-button").disabled = !page.canUndo;
    $("redo-button").disabled = !page.canRedo;
    Object.assign($("save-link"), { href: `image/${page.name}.png`, download: `${page.name}.png` });
    Object.assign($("latents-link"), { href: `latents/${page.name}.npz`, download: `${page.name}.npz` });
    for (const button of $("noise").children) press(button, button.dataset.noise === state.noise_mode);
    for (const button of $("modes").children) press(button, button.dataset.mode === view.mode);
    this.layers.forEach((button, layer) => press(button, state.mix_layers.includes(layer)));
    this.maps?.forEach((button, layer) => press(button, layer === view.layer));
    this.showLatents(state, shares);
    this.fit();
  }

  fill() {
    const { state } = this;
    $("seed").value = state.seed;
    $("psi").value = state.psi;
    $("psi-value").textContent = state.psi.toFixed(2);
    $("mix-seed").value = state.mix_seed;
    if (state.class_idx !== null) $("class").value = state.class_idx;
  }

  showLatents(state, shares) {
    $("restore").hidden = !Object.keys(state.rerolls).length;
    this.latents?.forEach((card, latent) => {
      const seed = state.rerolls[latent];
      const share = shares[latent] === undefined ? "" : `${Math.round(shares[latent] * 100)} %`;
      card.classList.toggle("replaced", seed !== undefined);
      card.querySelector(".give-back").hidden = seed === undefined;
      const note = this.model.latents[latent] === "global" ? "the whole picture" : share && `${share} of pixels`;
      card.querySelector("small").textContent = seed === undefined ? note : `of seed ${seed}`;
    });
  }

  // The picture as large as the window allows; small ones by a whole factor, so that pixels are even.
  fit() {
    const [, , pixels] = this.model.image;
    const { clientWidth } = document.documentElement;
    const frame = this.model.attention.length ? FRAME : FRAME - 156;
    const width = clientWidth - (clientWidth > NARROW ? SIDE : 48);
    let size = Math.max(MIN_STAGE, Math.floor(Math.min(width, (window.innerHeight - frame) / this.model.ratio)));
    if (pixels <= SMALL) size = Math.max(1, Math.floor(size / pixels)) * pixels;
    document.body.style.setProperty("--stage", `${size}px`);
    $("stage").style.height = `${Math.round(size * this.model.ratio)}px`;
  }
}
