// Plotly, loaded when it is first needed, in the page's own colours.

let loading = null;

export function plotly() {
  loading ??= new Promise((done, failed) => {
    const script = document.createElement("script");
    script.src = document.body.dataset.plotly;
    script.onload = () => done(window.Plotly);
    script.onerror = () => failed(new Error("Plotly could not be loaded"));
    document.head.append(script);
  });
  return loading;
}

export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

export const LINES = ["line0", "line2", "line3", "line4", "line5"]; // line1 is for what stands back
export const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];
export const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "cross", "x"];

export function layout(changes = {}) {
  const axis = {
    gridcolor: colour("grid"),
    linecolor: colour("quiet"),
    zerolinecolor: colour("grid"),
    tickfont: { color: colour("quiet") },
    automargin: true,
  };
  const { xaxis, yaxis, ...rest } = changes;
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size: 13, color: colour("text") },
    margin: { l: 56, r: 12, t: 12, b: 48 },
    hoverlabel: { bgcolor: colour("card"), bordercolor: colour("quiet"), font: { color: colour("text") } },
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { color: colour("text") } },
    xaxis: { ...axis, ...xaxis },
    yaxis: { ...axis, ...yaxis },
    ...rest,
  };
}

/** What an axis says while there is nothing to draw. */
export function nothing(text) {
  return { annotations: [{ text, xref: "paper", yref: "paper", x: 0.5, y: 0.5, showarrow: false, font: { color: colour("quiet") } }], xaxis: { visible: false }, yaxis: { visible: false } };
}

export const CONFIG = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["toImage"] };

export function number(value, digits = 4) {
  if (value === null || value === undefined) return "–";
  if (Math.abs(value) >= 10 ** digits) return Math.round(value).toLocaleString("en");
  return String(Number(value.toPrecision(digits)));
}

export function metric(value) {
  return value === null || value === undefined ? "–" : value.toFixed(4);
}

const SVG = "http://www.w3.org/2000/svg";

/** A square for each branch, as large as its image; the larger the model, the darker. */
export function glyph(branches, size) {
  const svg = document.createElementNS(SVG, "svg");
  const largest = Math.max(...branches.map(([, side]) => side));
  for (const [name, value] of Object.entries({ class: "glyph", width: size, height: size, viewBox: `0 0 ${size} ${size}`, role: "img" })) svg.setAttribute(name, value);
  svg.setAttribute("aria-label", branches.map(([model, side]) => `${model} at ${side} px`).join(", "));
  const order = branches.map((branch, place) => [place, branch[1]]).sort((a, b) => b[1] - a[1]);
  for (const [place, side] of order) {
    const rect = document.createElementNS(SVG, "rect");
    const long = ((size - 1) * side) / largest;
    for (const [name, value] of Object.entries({ class: `shade${Math.min(place, 3)}`, x: 0.5, y: size - 0.5 - long, width: long, height: long })) rect.setAttribute(name, value);
    svg.append(rect);
  }
  return svg;
}

/** An element with text or children in it. Text is never read as markup. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** The short form of a design, which may be broken between its branches. */
export function breakable(name) {
  const parts = name.split("+");
  const nodes = [];
  parts.forEach((part, index) => {
    nodes.push(index < parts.length - 1 ? `${part}+` : part);
    if (index < parts.length - 1) nodes.push(document.createElement("wbr"));
  });
  return nodes;
}
