"use strict";

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
