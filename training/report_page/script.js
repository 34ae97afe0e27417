"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);

/** An element with attributes, and children that are elements or texts. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function draw(tag, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

// Numbers for people.

function short(x) {
  if (x === null || x === undefined) return "–";
  const size = Math.abs(x);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return x.toExponential(1).replace("e+", "e");
  return String(Number(x.toPrecision(size >= 1000 ? 4 : 3)));
}

function images(kimg) {
  if (kimg >= 1000) return [short(kimg / 1000), "million images"];
  return [String(Number(kimg.toFixed(1))), "thousand images"];
}

function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const total = Math.round(seconds);
  const [days, hours, minutes] = [Math.floor(total / 86400), Math.floor(total / 3600) % 24, Math.floor(total / 60) % 60];
  if (days) return `${days}d ${hours}h`;
  if (hours) return `${hours}h ${minutes}m`;
  return minutes ? `${minutes}m ${total % 60}s` : `${total}s`;
}

// Head of the page.

function showHead() {
  const { name, facts, progress } = data;
  const isDone = progress.total_kimg !== null && progress.kimg >= progress.total_kimg;
  const flag = (wanted) => (data.flags.find((row) => row.name === wanted) || {}).value;
  document.title = `${name} – training report`;
  $("name").textContent = name;
  $("state").textContent = isDone ? "finished" : `at ${short(progress.kimg)} kimg`;
  $("state").classList.toggle("done", isDone);
  const kind = flag("baseline") || (flag("transformer") ? "GANsformer" : flag("kgan") ? "k-GAN" : "GAN");
  const parts = [flag("dataset") ? `${kind} on ${flag("dataset")}` : ""];
  if (facts.resolution) parts.push(`${facts.resolution} × ${facts.resolution} pixels`);
  if (facts.num_images) parts.push(`${facts.num_images.toLocaleString("en")} training images`);
  if (facts.label_size) parts.push(`${facts.label_size} classes`);
  $("about").textContent = parts.filter(Boolean).join("  ·  ");
  const share = progress.total_kimg ? Math.min(1, progress.kimg / progress.total_kimg) : 0;
  $("bar").style.width = `${100 * share}%`;
  $("bar").parentNode.classList.toggle("done", isDone);
  $("bar").parentNode.setAttribute("aria-valuenow", Math.round(100 * share));
  const [number, unit] = images(progress.kimg);
  tile("Shown", number, unit);
  if (progress.total_kimg !== null) {
    tile("Progress", `${Math.floor(100 * share)} %`, `of ${images(progress.total_kimg).join(" ").replace(/ (thousand|million).*/, (m) => (m[1] === "t" ? "k" : "M"))}`);
  }
  tile("Training time", duration(progress.seconds), "");
  if (!isDone) tile("Time left", duration(progress.seconds_left), "about");
  if (progress.sec_per_kimg) tile("Speed", short(1000 / progress.sec_per_kimg), "images/s");
  if (progress.memory_gb) tile("Memory", short(progress.memory_gb), "GB");
  for (const chart of data.metrics.slice(0, 2)) {
    const y = chart.series[0].y;
    tile(chart.series[0].name, short(y[y.length - 1]), "newest");
  }
}

function tile(title, value, unit) {
  $("tiles").append(make("div", {}, make("dt", {}, title), make("dd", {}, value, make("small", {}, unit))));
}

// Pictures: one slider for all of them.

function showPictures() {
  if (!data.steps.length) return;
  $("looking").hidden = false;
  const kinds = ["fakes", "attention"].filter((kind) => data.steps.some((step) => step[kind]));
  const titles = { fakes: "Samples of the same latents", attention: "What the latents attend to" };
  const pictures = {};
  for (const kind of kinds) {
    pictures[kind] = make("img", { alt: titles[kind], id: `picture-${kind}` });
    const caption = make("figcaption", { id: `caption-${kind}` }, titles[kind]);
    const figure = make("figure", {}, caption, pictures[kind]);
    const sample = data.steps.map((step) => step[kind]).find(Boolean);
    figure.style.flex = `${Math.min(2, sample.width / sample.height)} 1 0`; // all equally high
    $("figures").append(figure);
  }
  const slider = $("slider");
  slider.max = data.steps.length - 1;
  let showReals = false;
  const show = () => {
    const step = data.steps[slider.value];
    $("place").textContent = `${short(step.kimg)} kimg`;
    for (const kind of kinds) {
      const isReal = kind === "fakes" && showReals;
      setPicture(pictures[kind], isReal ? data.reals : step[kind]);
      $(`caption-${kind}`).textContent = isReal ? "The training images" : titles[kind];
    }
  };
  slider.addEventListener("input", show);
  if (data.reals) {
    const buttons = ["Generated", "Real"].map((text) => make("button", { type: "button" }, text));
    const choose = (reals) => {
      showReals = reals;
      buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(Boolean(i) === reals)));
      show();
    };
    buttons.forEach((button, i) => button.addEventListener("click", () => choose(Boolean(i))));
    $("tabs").append(...buttons);
    choose(false);
  }
  playWith(slider, show);
  slider.value = recalled("step", slider.max);
  slider.addEventListener("change", () => recall("step", slider.value === slider.max ? null : slider.value));
  show();
  if (data.layers) {
    $("forming").hidden = false;
    setPicture($("forming").querySelector("img"), data.layers);
  }
  enlargeOnClick();
}

/** A click on a picture shows it as large as the window allows. */
function enlargeOnClick() {
  for (const image of document.querySelectorAll("main img")) {
    image.title = "Click to enlarge";
    image.addEventListener("click", () => {
      $("large").replaceChildren(make("img", { src: image.src, alt: image.alt }));
      $("large").showModal();
    });
  }
  $("large").addEventListener("click", () => $("large").close());
}

function setPicture(image, picture) {
  image.hidden = !picture;
  if (!picture) return;
  image.src = picture.src;
  image.width = picture.width;
  image.height = picture.height;
  image.classList.toggle("small", picture.width < 600);
}

function playWith(slider, show) {
  let timer = null;
  const stop = () => {
    clearInterval(timer);
    timer = null;
    $("play").textContent = "▶";
  };
  $("play").addEventListener("click", () => {
    if (timer !== null) return stop();
    if (slider.value === slider.max) slider.value = 0;
    $("play").textContent = "❚❚";
    show();
    timer = setInterval(() => {
      slider.value = Number(slider.value) + 1;
      show();
      if (slider.value === slider.max) stop();
    }, Math.max(120, 2400 / data.steps.length));
    return undefined;
  });
}

// Kept while the page is opened anew; some browsers refuse that to files.

function recall(name, value) {
  try {
    if (value === null) sessionStorage.removeItem(name + data.name);
    else sessionStorage.setItem(name + data.name, value);
  } catch (error) { /* then it is not kept */ }
}

function recalled(name, otherwise) {
  try {
    const value = sessionStorage.getItem(name + data.name);
    return value === null ? otherwise : value;
  } catch (error) {
    return otherwise;
  }
}

// Curves.

const HEIGHT = 220;
const MARGIN = { left: 52, right: 10, top: 12, bottom: 40 };

/** About `count` round numbers from low to high, each with its text. */
function ticks(low, high, count) {
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999);
  const digits = Math.min(8, Math.max(0, -Math.floor(Math.log10(step) + 1e-9)));
  const text = (x) => (Math.abs(x) >= 1e6 || step < 1e-6 ? short(x) : x.toFixed(digits));
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push([i * step, text(i * step)]);
  return found;
}

function powers(low, high) {
  const found = [];
  const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
  const steps = Math.log10(high / low) <= 2.2 ? [1, 2, 5] : [1];
  const stride = Math.ceil((last - first) / 6);
  for (let p = first; p <= last; p += stride) for (const m of steps) found.push(m * 10 ** p);
  return found.filter((x) => x >= low * 0.999 && x <= high * 1.001).map((x) => [x, short(Number(x.toPrecision(3)))]);
}

/** Running mean that forgets; the raw curve stays visible behind it. */
function smooth(y) {
  if (y.length < 40) return null;
  const keep = 1 - 8 / y.length;
  let [sum, weight] = [0, 0];
  return y.map((value) => {
    if (value === null) return null;
    sum = keep * sum + value;
    weight = keep * weight + 1;
    return sum / weight;
  });
}

function range(values) {
  let [low, high] = [Math.min(...values), Math.max(...values)];
  if (low === high) [low, high] = low === 0 ? [0, 1] : [low - Math.abs(low) * 0.1, high + Math.abs(high) * 0.1];
  return [low, high];
}

function addChart(place, chart) {
  const values = chart.series.flatMap((s) => s.y).filter((y) => y !== null);
  if (!values.length) return;
  const canLog = !chart.from_zero && Math.min(...values) > 0;
  const state = { isLog: canLog && Math.max(...values) / Math.min(...values) > 50 };
  const legend = make("span", { class: "legend" });
  chart.series.forEach((s, i) => {
    const dot = make("i");
    dot.style.background = `var(--c${i % 6})`;
    legend.append(make("span", {}, dot, s.name, make("b", {}, short(s.y[s.y.length - 1]))));
  });
  const head = make("div", { class: "head" }, make("h3", {}, chart.title));
  if (chart.unit) head.append(make("span", { class: "unit" }, chart.unit));
  const svg = draw("svg", { role: "img", "aria-label": chart.title });
  const paint = () => paintChart(svg, chart, state);
  if (canLog) {
    const button = make("button", { type: "button", title: "Logarithmic scale", "aria-pressed": state.isLog }, "log");
    button.addEventListener("click", () => {
      state.isLog = !state.isLog;
      button.setAttribute("aria-pressed", state.isLog);
      paint();
    });
    head.append(button);
  }
  head.append(legend);
  place.append(make("div", { class: "card chart" }, head, svg));
  paint();
  new ResizeObserver(paint).observe(svg);
}

function paintChart(svg, chart, state) {
  const width = svg.clientWidth || 520;
  const [inner, base] = [width - MARGIN.left - MARGIN.right, HEIGHT - MARGIN.bottom];
  const xs = chart.series.flatMap((s) => s.x);
  const ys = chart.series.flatMap((s) => s.y).filter((y) => y !== null);
  const [x0, x1] = range([Math.min(0, ...xs), ...xs]);
  let [y0, y1] = range(ys);
  const bend = state.isLog ? Math.log10 : (y) => y;
  if (state.isLog) {
    [y0, y1] = [y0 / 1.2, y1 * 1.2];
  } else {
    const pad = 0.06 * (y1 - y0);
    [y0, y1] = [y0 >= 0 && (chart.from_zero || y0 < 0.4 * y1) ? 0 : y0 - pad, y1 + pad];
  }
  const px = (x) => MARGIN.left + (inner * (x - x0)) / (x1 - x0);
  const py = (y) => base - ((base - MARGIN.top) * (bend(y) - bend(y0))) / (bend(y1) - bend(y0));
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  for (const [y, text] of state.isLog ? powers(y0, y1) : ticks(y0, y1, 5)) {
    svg.append(draw("line", { class: "gridline", x1: MARGIN.left, x2: width - MARGIN.right, y1: py(y), y2: py(y) }));
    svg.append(draw("text", { x: MARGIN.left - 8, y: py(y) + 4, "text-anchor": "end" }, text));
  }
  for (const [x, text] of ticks(x0, x1, Math.max(3, Math.floor(inner / 80)))) {
    svg.append(draw("line", { class: "axis", x1: px(x), x2: px(x), y1: base, y2: base + 4 }));
    svg.append(draw("text", { x: px(x), y: base + 17, "text-anchor": "middle" }, text));
  }
  svg.append(draw("line", { class: "axis", x1: MARGIN.left, x2: width - MARGIN.right, y1: base, y2: base }));
  svg.append(draw("text", { x: MARGIN.left + inner / 2, y: HEIGHT - 6, "text-anchor": "middle" }, "thousands of images shown"));
  chart.series.forEach((s, i) => {
    const smoothed = smooth(s.y);
    const curve = (y, kind) => draw("path", { class: `curve ${kind}`, style: `stroke:var(--c${i % 6})`, d: path(s.x, y, px, py) });
    svg.append(curve(s.y, smoothed ? "raw" : ""));
    if (smoothed) svg.append(curve(smoothed, ""));
    if (s.x.length < 12) s.x.forEach((x, j) => s.y[j] !== null && svg.append(draw("circle", { cx: px(x), cy: py(s.y[j]), r: 3, style: `fill:var(--c${i % 6})` })));
  });
  hover(svg, chart, px, width, base);
}

function path(xs, ys, px, py) {
  let [text, pen] = ["", "M"];
  xs.forEach((x, i) => {
    if (ys[i] === null) pen = "M";
    else {
      text += `${pen}${px(x).toFixed(1)},${py(ys[i]).toFixed(1)}`;
      pen = "L";
    }
  });
  return text;
}

function hover(svg, chart, px, width, base) {
  const line = draw("line", { class: "cursor", y1: MARGIN.top, y2: base, visibility: "hidden" });
  svg.append(line);
  const all = [...new Set(chart.series.flatMap((s) => s.x))].sort((a, b) => a - b);
  svg.onpointerleave = () => {
    $("tip").hidden = true;
    line.setAttribute("visibility", "hidden");
  };
  svg.onpointermove = (event) => {
    const mouse = event.clientX - svg.getBoundingClientRect().left;
    const x = all.reduce((best, one) => (Math.abs(px(one) - mouse) < Math.abs(px(best) - mouse) ? one : best));
    line.setAttribute("visibility", "visible");
    line.setAttribute("x1", px(x));
    line.setAttribute("x2", px(x));
    const tip = $("tip");
    tip.replaceChildren(make("div", {}, `${short(x)} kimg`));
    chart.series.forEach((s, i) => {
      const at = s.x.indexOf(x);
      if (at < 0) return;
      const dot = make("i");
      dot.style.background = `var(--c${i % 6})`;
      tip.append(make("div", {}, dot, `${s.name} ${short(s.y[at])}`));
    });
    tip.hidden = false;
    const left = event.clientX + 16 + tip.offsetWidth > innerWidth ? event.clientX - 16 - tip.offsetWidth : event.clientX + 16;
    tip.style.left = `${left}px`;
    tip.style.top = `${event.clientY + 12}px`;
  };
}

function showCharts(id, charts) {
  if (!charts.length) return;
  $(id).hidden = false;
  charts.forEach((chart) => addChart($(id).querySelector(".grid"), chart));
}

// Configuration.

function written(value) {
  return value === null || value === "" ? "none" : String(value);
}

function table(title, rows) {
  const body = make("tbody");
  for (const row of rows) {
    const cells = [make("td", {}, `--${row.name}`), make("td", {}, written(row.value))];
    if (row.origin !== "default") cells.push(make("td", { class: "was" }, written(row.default)));
    body.append(make("tr", {}, ...cells));
  }
  const names = rows[0].origin === "default" ? ["flag", "value"] : ["flag", "value", "default"];
  const head = make("thead", {}, make("tr", {}, ...names.map((name) => make("th", {}, name))));
  return make("table", {}, make("caption", {}, title), head, body);
}

function showConfiguration() {
  const of = (origin) => data.flags.filter((row) => row.origin === origin);
  if (!data.flags.length) return;
  $("configuration").hidden = false;
  const box = make("div", { class: "tables" });
  if (of("given").length) box.append(table("Chosen for this run", of("given")));
  if (of("preset").length) box.append(table("From the preset", of("preset")));
  $("changed").append(box);
  const rest = of("default");
  $("others").textContent = `${rest.length} flags at their defaults`;
  const fill = () => {
    const found = rest.filter((row) => row.name.includes($("filter").value.trim().replace(/^-+/, "")));
    const half = Math.ceil(found.length / 2);
    const parts = [found.slice(0, half), found.slice(half)].filter((rows) => rows.length);
    $("defaults").replaceChildren(make("div", { class: "tables" }, ...parts.map((rows) => table("", rows))));
  };
  $("filter").addEventListener("input", fill);
  fill();
}

function showFoot() {
  const { progress, time } = data;
  $("written").textContent = `Written ${new Date(time).toLocaleString()} from what the run had saved by then.`;
  if (progress.total_kimg !== null && progress.kimg >= progress.total_kimg) return;
  $("follow").hidden = false;
  const box = $("follow").querySelector("input");
  box.checked = recalled("follow", "no") === "yes";
  box.addEventListener("change", () => recall("follow", box.checked ? "yes" : "no"));
  setInterval(() => box.checked && location.reload(), 60000);
}

showHead();
showPictures();
showCharts("measures", data.metrics);
showCharts("curves", data.charts);
showConfiguration();
showFoot();
