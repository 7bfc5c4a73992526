// Metric against cost: the front, what it dominates, tiers, baselines, the papers' designs.

import { breakable, colour, CONFIG, element, glyph, layout, metric, number, plotly } from "./plot.js";

const MOST = 2000; // dominated designs drawn at once; zooming in shows the others

export class Front {
  constructor(filters, search) {
    this.filters = filters;
    this.search = search;
    this.plot = document.getElementById("front-plot");
    this.detail = document.getElementById("front-detail");
    this.note = document.getElementById("front-note");
    this.chosen = () => {};
    this.view = null;
  }

  option(name) {
    return this.axes?.elements[name]?.checked ?? false;
  }

  async draw(designs, axes, fresh) {
    const Plotly = await plotly();
    const first = !this.designs;
    this.designs = designs;
    this.axes = axes;
    if (first && axes) axes.elements.published.checked = this.overlayFits();
    if (fresh) this.view = null;
    await Plotly.react(this.plot, this.traces(), this.layout(fresh), CONFIG);
    if (first) this.listen(Plotly);
    const best = designs.front.lastIndexOf(true);
    if (first && best >= 0) this.show(this.parts().front.at(-1) ?? best);
  }

  overlayFits() {
    const most = [...this.designs.tiers, ...this.designs.paid].reduce((a, b) => Math.max(a, b ?? 0), 0);
    return this.designs.published.some((one) => one.paid <= most);
  }

  /** Designs to draw: all of the front, and of the dominated ones in view so many that drawing stays quick. */
  parts() {
    const d = this.designs;
    const keep = new Set(this.filters.keep);
    const front = [];
    let rest = [];
    const lower = [];
    for (let i = 0; i < d.number.length; i++) {
      if (d.paid[i] === null) continue;
      if (d.value[i] === null) {
        if (d.lower[i] !== null && keep.has(i)) lower.push(i);
      } else if (d.front[i]) front.push(i);
      else rest.push(i);
    }
    front.sort((a, b) => d.paid[a] - d.paid[b]);
    rest = this.filters.any ? rest.filter((i) => keep.has(i)) : rest;
    const seen = (points, values) => points.filter((i) => this.inView(d.paid[i], values[i]));
    const visible = this.view ? seen(rest, d.value) : rest;
    const visibleLower = this.view ? seen(lower, d.lower) : lower;
    return { front, rest: thin(visible), all: visible.length, lower: thin(visibleLower), allLower: visibleLower.length };
  }

  inView(x, y) {
    const { x: [left, right], y: [low, high] } = this.view;
    return x >= left && x <= right && y >= low && y <= high;
  }

  traces() {
    const d = this.designs;
    const { front, rest, all, lower, allLower } = this.parts();
    const hover = (i) => `trial ${d.number[i]}<br>${d.metric} ${metric(d.value[i] ?? d.lower[i])}${d.deviation[i] === null ? "" : ` ± ${metric(d.deviation[i])} (${d.seeds[i]} seeds)`}<br>${number(d.paid[i])} ${d.axis_title}`;
    const points = (indices, changes, values = d.value) => ({
      type: "scatter",
      x: indices.map((i) => d.paid[i]),
      y: indices.map((i) => values[i]),
      customdata: indices,
      text: indices.map(hover),
      hovertemplate: "%{text}<extra></extra>",
      ...changes,
    });
    const errors = (indices) => ({
      type: "data",
      array: indices.map((i) => d.deviation[i] ?? 0),
      visible: indices.some((i) => d.deviation[i] !== null),
      color: colour("quiet"),
      thickness: 1.2,
      width: 3,
    });
    const keep = new Set(this.filters.keep);
    const traces = [];
    if (this.option("lower") && lower.length) {
      traces.push(points(lower, { mode: "markers", name: "at lower rungs", marker: { size: 5, symbol: "circle-open", color: colour("quiet"), opacity: 0.6 } }, d.lower));
    }
    if (this.option("dominated") && rest.length) {
      traces.push(points(rest, { mode: "markers", name: "dominated", error_y: errors(rest), marker: { size: 6, color: colour("line1"), opacity: all > 300 ? 0.5 : 0.75 } }));
    }
    traces.push(points(front, {
      mode: Object.keys(d.further).length ? "markers" : "lines+markers",
      name: "front",
      error_y: errors(front),
      line: { shape: "hv", color: colour("line0"), width: 2 },
      marker: { size: 10, color: colour("line0"), opacity: front.map((i) => (keep.has(i) ? 1 : 0.25)), line: { width: 1, color: colour("card") } },
    }));
    if (this.option("published") && d.published.length) {
      traces.push({
        type: "scatter",
        mode: "markers",
        name: "published, trained in full",
        x: d.published.map((one) => one.paid),
        y: d.published.map((one) => one.value),
        text: d.published.map((one) => `${escaped(one.title)}: ${escaped(one.architecture)}<br>${number(100 * one.value)} in ${escaped(one.source)}<br>${number(one.paid)} ${d.axis_title}`),
        hovertemplate: "%{text}<extra></extra>",
        marker: { size: 9, symbol: "diamond-open", color: colour("line2"), line: { width: 2 } },
      });
    }
    if (d.baselines.length) {
      traces.push({
        type: "scatter",
        mode: "markers",
        name: "baselines",
        x: d.baselines.map((one) => one.paid),
        y: d.baselines.map((one) => one.value),
        text: d.baselines.map((one) => `${escaped(one.name)}: ${escaped(one.about)}<br>${d.metric} ${metric(one.value)}<br>${number(one.paid)} ${d.axis_title}`),
        hovertemplate: "%{text}<extra></extra>",
        marker: { size: 9, symbol: "square-open", color: colour("line3"), line: { width: 2 } },
      });
    }
    this.say(front.length, rest.length, all, lower.length, allLower);
    return traces;
  }

  say(front, rest, all, lower, allLower) {
    const d = this.designs;
    const parts = [];
    if (!front && !all) parts.push(d.number.length ? "No design was trained to the end yet." : "No design was proposed yet.");
    else parts.push(`${front} on the front, ${all.toLocaleString("en")} dominated in view${rest < all ? `, of which ${rest.toLocaleString("en")} are drawn: zoom in to see the others` : ""}.`);
    if (this.option("lower") && allLower) parts.push(`${lower.toLocaleString("en")} of ${allLower.toLocaleString("en")} designs at lower rungs are drawn with what they reached there.`);
    else if (allLower) parts.push(`${allLower.toLocaleString("en")} designs stopped at lower rungs; they are not drawn.`);
    if (d.seeds.some((count) => count > 1)) parts.push("Bars are standard deviations between seeds.");
    if (this.option("published") && d.published.length) parts.push("The papers' designs were trained in full, the search's are proxies: compare their cost and order, not their metric.");
    this.note.textContent = parts.join(" ");
  }

  layout(fresh) {
    const d = this.designs;
    const log = this.option("log");
    const shapes = d.tiers.map((tier) => ({ type: "line", xref: "x", yref: "paper", x0: tier, x1: tier, y0: 0, y1: 1, line: { color: colour("quiet"), width: 1, dash: "dot" } }));
    const annotations = d.tiers.map((tier) => ({ xref: "x", yref: "paper", x: log ? Math.log10(tier) : tier, y: 1, text: `${number(tier)} ${d.tier_unit}`.trim(), showarrow: false, xanchor: "right", yanchor: "top", textangle: -90, font: { size: 11, color: colour("quiet") } }));
    return layout({
      dragmode: "select",
      selectdirection: "any",
      hovermode: "closest",
      shapes,
      annotations,
      uirevision: fresh ? (this.revision = String(Math.random())) : this.revision,
      xaxis: { title: { text: d.axis_title + (d.axis === "gmacs" || d.axis === "mparams" ? ` (${d.convention})` : "") }, type: log ? "log" : "linear", ...this.range(log) },
      yaxis: { title: { text: named(d) }, ...this.height() },
      newselection: { line: { color: colour("line0"), width: 1, dash: "dot" } },
    });
  }

  /** The stretch of costs of the search and its baselines; the papers' designs may lie far beyond it. */
  range(log) {
    const costs = [...this.designs.tiers, ...this.designs.paid.filter((cost, i) => cost !== null && this.drawn(i) !== null)];
    if (!costs.length) return { autorange: true };
    costs.push(...this.designs.baselines.map((one) => one.paid));
    const low = costs.reduce((a, b) => Math.min(a, b));
    const high = costs.reduce((a, b) => Math.max(a, b));
    return { autorange: false, range: log ? [Math.log10(low * 0.85), Math.log10(high * 1.15)] : [0, high * 1.05] };
  }

  /** From the lowest to the highest point that the stretch of costs shows. */
  height() {
    const d = this.designs;
    const most = [...d.tiers, ...d.paid.filter((cost, i) => cost !== null && this.drawn(i) !== null)].reduce((a, b) => Math.max(a, b), 0);
    const values = d.number.map((_, i) => this.drawn(i)).filter((value) => value !== null);
    if (this.option("published")) values.push(...d.published.filter((one) => one.paid <= most * 1.05).map((one) => one.value));
    values.push(...d.baselines.map((one) => one.value));
    if (!values.length) return { autorange: false, range: [0, 1] };
    const low = values.reduce((a, b) => Math.min(a, b));
    const high = values.reduce((a, b) => Math.max(a, b));
    const margin = 0.06 * (high - low || high || 1);
    return { autorange: false, range: [low - margin, high + 1.5 * margin] };
  }

  /** The metric that a design is drawn at; null where it is not. */
  drawn(i) {
    const d = this.designs;
    if (d.value[i] !== null) return d.front[i] || this.option("dominated") ? d.value[i] : null;
    return this.option("lower") ? d.lower[i] : null;
  }

  listen(Plotly) {
    this.plot.on("plotly_hover", (event) => this.at(event, (index) => this.show(index)));
    this.plot.on("plotly_click", (event) =>
      this.at(event, (index) => {
        this.show(index);
        this.chosen(index);
      }),
    );
    this.plot.on("plotly_selected", (event) => {
      if (event?.range) this.filters.box({ x: sorted(event.range.x), y: sorted(event.range.y) });
    });
    this.plot.on("plotly_deselect", () => this.filters.box(null));
    this.plot.on("plotly_relayout", (event) => {
      const moved = Object.keys(event).some((key) => key.startsWith("xaxis.range") || key.startsWith("yaxis.range"));
      const freed = "xaxis.autorange" in event || "yaxis.autorange" in event;
      if (!moved && !freed) return;
      const { xaxis, yaxis } = this.plot._fullLayout;
      const power = (axis) => (axis.type === "log" ? axis.range.map((end) => 10 ** end) : [...axis.range]);
      this.view = freed ? null : { x: power(xaxis), y: power(yaxis) };
      Plotly.react(this.plot, this.traces(), { ...this.plot.layout, uirevision: this.plot.layout.uirevision }, CONFIG);
    });
  }

  at(event, act) {
    const index = event.points[0]?.customdata;
    if (Number.isInteger(index)) act(index);
  }

  filter() {
    if (this.designs && window.Plotly) window.Plotly.react(this.plot, this.traces(), this.plot.layout, CONFIG);
  }

  /** A design in words beside the plot. */
  show(i) {
    const d = this.designs;
    const facts = [
      [d.metric, d.value[i] === null ? `${metric(d.lower[i])} so far` : metric(d.value[i]) + (d.deviation[i] === null ? "" : ` ± ${metric(d.deviation[i])}, ${d.seeds[i]} seeds`)],
      [d.axis_title, number(d.paid[i])],
      ["M parameters", number(d.mparams[i])],
      ["Interactions", d.interactions[i]],
      ["Trial", d.number[i]],
      ["State", d.front[i] ? `${d.state[i]}, on the front` : d.state[i]],
    ];
    const list = element("dl", { className: "small" }, ...facts.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, String(value)))));
    const branches = element("ul", { className: "plain-list" }, ...d.branches[i].map(([model, side], place) => element("li", {}, element("span", { className: `key shade${Math.min(place, 3)}` }), `${model} at ${side} px, ${d.windows[i][place]}`)));
    this.detail.replaceChildren(
      glyph(d.branches[i], 96),
      branches,
      element("a", { className: "design", href: `${this.search}/design/${d.fingerprint[i]}` }, ...breakable(d.architecture[i])),
      list,
    );
  }
}

/** The metric, with its title where that says more. */
function named(d) {
  const title = d.titles[d.metric] ?? d.metric;
  return title === d.metric ? d.metric : `${d.metric} (${title})`;
}

function thin(points) {
  if (points.length <= MOST) return points;
  const step = points.length / MOST;
  return Array.from({ length: MOST }, (_, place) => points[Math.floor(place * step)]);
}

function sorted(range) {
  return [...range].sort((a, b) => a - b);
}

/** Plotly reads a little markup in texts. */
function escaped(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}
