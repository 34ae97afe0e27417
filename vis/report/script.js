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
  const [rows, columns] = facts.start || [4, 4];
  const scale = facts.resolution / 4;
  if (facts.resolution) parts.push(`${scale * columns} × ${scale * rows} pixels`);
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
