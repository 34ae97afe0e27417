// The attention over the picture: which latent owns a pixel, its region, colours of all.

const VEIL = [16, 17, 20]; // over what is out of focus
const VEIL_ALPHA = 0.58;
const COLOR_ALPHA = 0.62; // over the picture

export class Overlay {
  // canvas: lies over the picture. colors: ["#rrggbb", ...] of the K latents.
  constructor(canvas, colors) {
    this.canvas = canvas;
    this.colors = colors;
    this.rgb = colors.map((text) => [1, 3, 5].map((i) => parseInt(text.slice(i, i + 2), 16)));
    this.cells = document.createElement("canvas"); // one pixel for each of the map's
    this.maps = null;
    this.shares = []; // of the picture, for each latent
  }

  // maps: Float32Array of K x height x width, each pixel's K values summing to one.
  setMaps(maps, height, width) {
    const size = height * width;
    const num = maps.length / size;
    Object.assign(this, { maps, height, width, num });
    this.owner = new Uint16Array(size);
    this.peak = new Float32Array(num);
    this.shares = new Array(num).fill(0);
    for (let k = 0; k < num; k++) {
      for (let i = 0; i < size; i++) {
        const value = maps[k * size + i];
        if (value > maps[this.owner[i] * size + i]) this.owner[i] = k;
        if (value > this.peak[k]) this.peak[k] = value;
      }
    }
    for (const k of this.owner) this.shares[k] += 1 / size;
  }

  // The latent that owns the pixel at a place in [0, 1] x [0, 1], and its weight there.
  at(x, y) {
    if (!this.maps) return null;
    const column = Math.min(this.width - 1, Math.max(0, Math.floor(x * this.width)));
    const row = Math.min(this.height - 1, Math.max(0, Math.floor(y * this.height)));
    const i = row * this.width + column;
    const latent = this.owner[i];
    return { latent, weight: this.maps[latent * this.height * this.width + i] };
  }

  // mode: "off", "hover", "regions" or "mixture". focus: the latent to bring out, or null.
  draw(mode, focus) {
    const { canvas } = this;
    const scale = window.devicePixelRatio || 1;
    canvas.width = Math.round(canvas.clientWidth * scale);
    canvas.height = Math.round(canvas.clientHeight * scale);
    if (!this.maps || mode === "off" || !canvas.width) return;
    if (focus !== null && focus >= this.num) focus = null; // the global latent has no region
    if (mode === "hover" && focus === null) return;

    this.cells.width = this.width;
    this.cells.height = this.height;
    const pixels = new ImageData(this.width, this.height);
    for (let i = 0; i < this.owner.length; i++) pixels.data.set(this.shade(mode, focus, i), 4 * i);
    this.cells.getContext("2d").putImageData(pixels, 0, 0);

    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(this.cells, 0, 0, canvas.width, canvas.height);
    if (focus !== null && mode !== "mixture") this.outline(context, focus, scale);
  }

  // Red, green, blue and alpha, in [0, 255], of pixel i.
  shade(mode, focus, i) {
    const size = this.owner.length;
    if (mode === "mixture") {
      if (focus !== null) {
        const light = this.maps[focus * size + i] / Math.max(this.peak[focus], 1e-8);
        return [...VEIL, 255 * 0.9 * (1 - light)];
      }
      const mixed = [0, 0, 0];
      let total = 1e-8;
      for (let k = 0; k < this.num; k++) {
        const value = this.maps[k * size + i];
        total += value;
        for (let c = 0; c < 3; c++) mixed[c] += value * this.rgb[k][c];
      }
      return [...mixed.map((value) => value / total), 255 * COLOR_ALPHA];
    }
    const owner = this.owner[i];
    if (focus !== null && owner !== focus) return [...VEIL, 255 * VEIL_ALPHA];
    return mode === "hover" ? [0, 0, 0, 0] : [...this.rgb[owner], 255 * COLOR_ALPHA];
  }

  // A line in the latent's colour around its region, on a white one for contrast.
  outline(context, focus, scale) {
    const stepX = context.canvas.width / this.width;
    const stepY = context.canvas.height / this.height;
    const isIn = (x, y) =>
      x >= 0 && y >= 0 && x < this.width && y < this.height &&
      this.owner[y * this.width + x] === focus;
    const path = new Path2D();
    const line = (x0, y0, x1, y1) => {
      path.moveTo(x0 * stepX, y0 * stepY);
      path.lineTo(x1 * stepX, y1 * stepY);
    };
    for (let y = 0; y < this.height; y++) {
      for (let x = 0; x < this.width; x++) {
        if (!isIn(x, y)) continue;
        if (!isIn(x - 1, y)) line(x, y, x, y + 1);
        if (!isIn(x + 1, y)) line(x + 1, y, x + 1, y + 1);
        if (!isIn(x, y - 1)) line(x, y, x + 1, y);
        if (!isIn(x, y + 1)) line(x, y + 1, x + 1, y + 1);
      }
    }
    context.lineCap = "square";
    context.lineWidth = 5 * scale;
    context.strokeStyle = "rgb(255 255 255 / 92%)";
    context.stroke(path);
    context.lineWidth = 2.5 * scale;
    context.strokeStyle = this.colors[focus];
    context.stroke(path);
  }
}
