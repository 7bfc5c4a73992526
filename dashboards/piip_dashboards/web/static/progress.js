// Best metric and hypervolume of each tier, over evaluations or hours.

import { colour, CONFIG, DASHES, LINES, layout, nothing, number, plotly } from "./plot.js";

let last = null;

document.querySelectorAll("input[name=over]").forEach((radio) => radio.addEventListener("change", () => last && drawProgress(last)));

export async function drawProgress(progress) {
  last = progress;
  const Plotly = await plotly();
  document.getElementById("hours-word").textContent = progress.gpu ? "GPU-hours" : "hours of trials";
  const over = document.querySelector("input[name=over]:checked").value;
  const title = over === "evaluations" ? "evaluations" : progress.gpu ? "GPU-hours" : "hours of trials";
  const traces = (column) =>
    progress.tiers.map((tier, index) => ({
      type: "scatter",
      mode: "lines",
      name: `≤ ${tier.title}`,
      x: tier[over].slice(1),
      y: tier[column].slice(1), // without the nothing that it begins with
      line: { shape: "hv", color: colour(LINES[index % LINES.length]), dash: DASHES[index % DASHES.length], width: 2.2 },
      hovertemplate: `≤ ${tier.title}: %{y:.4f}<extra></extra>`,
    }));
  const axes = (name) => layout({ hovermode: "x unified", xaxis: { title: { text: title }, rangemode: "tozero" }, yaxis: { title: { text: name } } });
  const begun = progress.tiers.some((tier) => tier.best.some((value) => value !== null));
  const empty = layout(nothing("no design was trained to the end yet"));
  Plotly.react("best-plot", begun ? traces("best") : [], begun ? axes(progress.metric) : empty, CONFIG);
  Plotly.react("volume-plot", begun ? traces("hypervolume") : [], begun ? axes("hypervolume") : empty, CONFIG);
}
