// Parallel coordinates on a canvas: thousands of lines would be too many elements.

import { colour, number } from "./plot.js";

const TOP = 46;
const BOTTOM = 26;
const SIDE = 70;
const LEAST = 116; // pixels between two axes

export class Parallel {
  constructor(canvas, clear, filters) {
    this.canvas = canvas;
    this.filters = filters;
    filters.position = (name, i) => this.axes.find((axis) => axis.name === name)?.at(i) ?? null;
    clear.addEventListener("click", () => {
      filters.axes.clear();
      filters.update();
    });
    canvas.addEventListener("pointerdown", (event) => this.begin(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.end(event));
    new ResizeObserver(() => this.paint()).observe(canvas.parentElement);
  }

  draw(designs) {
    this.designs = designs;
    this.axes = axesOf(designs);
    for (const name of this.filters.axes.keys()) if (!this.axes.some((axis) => axis.name === name)) this.filters.axes.delete(name);
    this.paint();
  }

  filter() {
    this.paint();
  }

  paint() {
    if (!this.designs) return;
    const { canvas, axes } = this;
    const width = Math.max(canvas.parentElement.clientWidth, 2 * SIDE + LEAST * (axes.length - 1));
    const height = 330;
    const ratio = window.devicePixelRatio || 1;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    pen.clearRect(0, 0, width, height);
    this.height = height;
    this.step = (width - 2 * SIDE) / Math.max(1, axes.length - 1);
    this.lines(pen);
    this.frame(pen);
  }

  x(place) {
    return SIDE + place * this.step;
  }

  y(position) {
    return TOP + (1 - position) * (this.height - TOP - BOTTOM);
  }

  lines(pen) {
    const d = this.designs;
    const kept = new Set(this.filters.keep);
    const front = [];
    const inside = [];
    const outside = [];
    for (let i = 0; i < d.number.length; i++) {
      if (d.value[i] === null) continue;
      (kept.has(i) ? (d.front[i] ? front : inside) : outside).push(i);
    }
    const some = this.filters.any;
    if (some) this.strokes(pen, outside, colour("grid"), 0.4, 1);
    this.strokes(pen, inside, colour("line1"), Math.max(0.08, Math.min(0.6, 60 / (inside.length + 1))), 1);
    this.strokes(pen, front, colour("line0"), 0.95, 2);
  }

  strokes(pen, designs, stroke, opacity, width) {
    pen.strokeStyle = stroke;
    pen.globalAlpha = opacity;
    pen.lineWidth = width;
    for (const i of designs) {
      pen.beginPath();
      let begun = false;
      this.axes.forEach((axis, place) => {
        const position = axis.at(i);
        if (position === null) return;
        // Designs that share a choice are spread a little, so that a bundle shows how many they are.
        const y = this.y(position) + (axis.labels ? ((i * 7919) % 13) - 6 : 0);
        if (begun) pen.lineTo(this.x(place), y);
        else pen.moveTo(this.x(place), y);
        begun = true;
      });
      pen.stroke();
    }
    pen.globalAlpha = 1;
  }

  frame(pen) {
    pen.font = "12px system-ui, sans-serif";
    pen.textAlign = "center";
    this.axes.forEach((axis, place) => {
      const x = this.x(place);
      pen.strokeStyle = colour("quiet");
      pen.lineWidth = 1;
      pen.beginPath();
      pen.moveTo(x, TOP - 8);
      pen.lineTo(x, this.height - BOTTOM + 8);
      pen.stroke();
      pen.fillStyle = colour("text");
      pen.font = "600 12px system-ui, sans-serif";
      axis.title.forEach((line, row) => pen.fillText(line, x, 14 + 14 * row));
      pen.font = "11px system-ui, sans-serif";
      for (const [position, text] of axis.ticks) {
        const wide = pen.measureText(text).width;
        pen.fillStyle = colour("card");
        pen.globalAlpha = 0.85;
        pen.fillRect(x - wide / 2 - 3, this.y(position) - 7, wide + 6, 14);
        pen.globalAlpha = 1;
        pen.fillStyle = colour("text");
        pen.fillText(text, x, this.y(position) + 4);
      }
      const stretch = this.filters.axes.get(axis.name);
      if (stretch) {
        pen.fillStyle = colour("line2");
        pen.globalAlpha = 0.35;
        pen.fillRect(x - 9, this.y(Math.min(1.03, stretch[1])), 18, this.y(Math.max(-0.03, stretch[0])) - this.y(Math.min(1.03, stretch[1])));
        pen.globalAlpha = 1;
      }
    });
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    const place = Math.round((event.clientX - box.left - SIDE) / this.step);
    const near = Math.abs(event.clientX - box.left - this.x(place)) < 30;
    const position = 1 - (event.clientY - box.top - TOP) / (this.height - TOP - BOTTOM);
    return near && this.axes?.[place] ? { axis: this.axes[place], position } : null;
  }

  begin(event) {
    const at = this.designs && this.place(event);
    if (!at) return;
    this.held = { axis: at.axis, from: at.position };
    this.canvas.setPointerCapture(event.pointerId);
  }

  move(event) {
    if (!this.held) {
      this.canvas.style.cursor = this.designs && this.place(event) ? "ns-resize" : "default";
      return;
    }
    const box = this.canvas.getBoundingClientRect();
    const position = 1 - (event.clientY - box.top - TOP) / (this.height - TOP - BOTTOM);
    if (Math.abs(position - this.held.from) < 0.015) return;
    this.filters.axes.set(this.held.axis.name, [position, this.held.from].sort((a, b) => a - b));
    this.held.moved = true;
    this.paint();
  }

  end() {
    if (!this.held) return;
    if (!this.held.moved) this.filters.axes.delete(this.held.axis.name);
    this.held = null;
    this.filters.update();
  }
}

/** Model and image size of each branch, interactions, cost, metric, and what is searched together with them. */
function axesOf(d) {
  const most = d.branches.reduce((count, branches) => Math.max(count, branches.length), 0);
  const axes = [];
  for (let place = 0; place < most; place++) {
    const branch = (i, part) => d.branches[i][place]?.[part] ?? null;
    const name = most === 1 ? "" : `${["largest", "second", "third", "fourth"][place]} `;
    axes.push(choices(`model${place}`, [`${name}model`.trim()], d, (i) => branch(i, 0), d.models));
    axes.push(choices(`size${place}`, [`${name}model's`.trim(), "image (px)"], d, (i) => branch(i, 1)));
  }
  if (most > 1) axes.push(choices("interactions", ["interactions"], d, (i) => (d.branches[i].length > 1 ? d.interactions[i] : null)));
  axes.push(scale("paid", lines(d.axis_title), d.paid), scale("value", lines(d.metric), d.value));
  for (const [title, values] of Object.entries(d.further)) axes.push(scale(`further ${title}`, lines(title), values));
  return axes;
}

function lines(title) {
  return title.length > 14 && title.includes(" ") ? [title.slice(0, title.indexOf(" ", 8) + 1 || undefined), title.slice(title.indexOf(" ", 8) + 1 || title.length)].filter(Boolean) : [title];
}

function choices(name, title, d, of, ranked = []) {
  const found = new Set();
  for (let i = 0; i < d.number.length; i++) if (of(i) !== null) found.add(of(i));
  const order = [...found].sort((a, b) => (typeof a === "number" ? a - b : ranked.indexOf(a) - ranked.indexOf(b)));
  const missing = d.number.some((_, i) => of(i) === null);
  const steps = missing ? [null, ...order] : order;
  const where = new Map(steps.map((value, index) => [value, steps.length === 1 ? 0.5 : index / (steps.length - 1)]));
  return { name, title, labels: true, at: (i) => where.get(of(i)), ticks: steps.map((value) => [where.get(value), value === null ? "none" : String(value)]) };
}

function scale(name, title, values) {
  const known = values.filter((value) => value !== null);
  const low = known.reduce((a, b) => Math.min(a, b), Infinity);
  const high = known.reduce((a, b) => Math.max(a, b), -Infinity);
  const span = high - low || 1;
  const ticks = known.length ? [0, 0.25, 0.5, 0.75, 1].map((part) => [part, number(low + part * (high - low), 3)]) : [];
  return { name, title, at: (i) => (values[i] === null ? null : (values[i] - low) / span), ticks: high > low ? ticks : ticks.slice(0, 1) };
}
