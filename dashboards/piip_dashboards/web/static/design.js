// Learning curves of one design, or of several side by side.

import { json } from "./page.js";
import { colour, CONFIG, DASHES, LINES, layout, plotly, SYMBOLS } from "./plot.js";

const { api, designs, metric } = document.body.dataset;
const column = document.getElementById("curves-column");
const plot = document.getElementById("curves-plot");
const cards = [...document.querySelectorAll("[data-design]")].map((card) => card.dataset.design);

let curves = [];

async function begin() {
  const asked = cards.length ? cards : designs.split(" ");
  const found = await Promise.all(asked.map((one) => json(`${api}/designs/${one}`)));
  curves = found.flatMap((design, index) => design.curves.map((curve) => ({ ...curve, index, label: found.length > 1 ? `${"ABCD"[index]}: ${curve.label}` : curve.label })));
  const names = [...new Set(curves.flatMap((curve) => Object.keys(curve.columns)))];
  // A metric that was taken once, at the end, makes no curve: the loss does.
  const known = (name) => Math.max(0, ...curves.map((curve) => (curve.columns[name] ?? []).filter((value) => value !== null).length));
  const own = known(metric) > 1 || !names.includes("loss") ? metric : "loss";
  column.replaceChildren(...names.map((name) => new Option(name, name, name === own, name === own)));
  column.addEventListener("change", draw);
  await draw();
  document.body.dataset.drawn = "yes";
}

async function draw() {
  const Plotly = await plotly();
  const several = cards.length > 0;
  const traces = curves
    .filter((curve) => curve.columns[column.value]?.some((value) => value !== null))
    .map((curve, place) => {
      const index = several ? curve.index : place;
      return {
        type: "scatter",
        mode: "lines+markers",
        name: curve.label,
        x: curve.epochs,
        y: curve.columns[column.value],
        connectgaps: true,
        line: { color: colour(LINES[index % LINES.length]), dash: DASHES[place % DASHES.length], width: 2 },
        marker: { symbol: SYMBOLS[index % SYMBOLS.length], size: 7 },
      };
    });
  await Plotly.react(plot, traces, layout({ showlegend: true, xaxis: { title: { text: "epoch" }, rangemode: "tozero" }, yaxis: { title: { text: column.value } } }), CONFIG);
}

if (plot) {
  begin().catch((error) => (plot.textContent = `The curves could not be loaded: ${error.message}`));
  document.addEventListener("themed", draw);
} else {
  document.body.dataset.drawn = "yes";
}
