// The page of a search: one table of designs, shown as plot, as lines and as rows that filter each other.

import { follow, json, loadLater, ready } from "./page.js";
import { Front } from "./front.js";
import { Parallel } from "./parallel.js";
import { Table } from "./table.js";
import { drawProgress } from "./progress.js";
import { Filters } from "./filters.js";
import { plotly } from "./plot.js";

const { api, search } = document.body.dataset;
let designs = null;
let axes = null;

// Both take a while: they are on their way while the page is put together.
let early = json(address());
early.catch(() => {});
plotly();

const filters = new Filters(document.getElementById("filters"));
const front = new Front(filters, search);
const parallel = new Parallel(document.getElementById("parallel-plot"), document.getElementById("parallel-clear"), filters);
const table = new Table(filters, search, (index) => front.show(index));
front.chosen = (index) => table.reveal(index);

function address() {
  const chosen = axes ? new FormData(axes) : new Map();
  const query = new URLSearchParams();
  for (const name of ["metric", "axis", "convention"]) if (chosen.get(name)) query.set(name, chosen.get(name));
  return `${api}/designs?${query}`;
}

async function refresh(fresh) {
  const found = await (early ?? json(address()));
  early = null;
  const first = designs === null || fresh;
  designs = found;
  filters.use(designs);
  await Promise.all([table.draw(designs), parallel.draw(designs), front.draw(designs, axes, first)]);
}

async function progress() {
  drawProgress(await json(`${api}/progress`));
}

filters.changed = () => {
  table.filter();
  parallel.filter();
  front.filter();
};

function report(error) {
  document.getElementById("front-note").textContent = `The designs could not be loaded: ${error.message}`;
}

ready.then(async () => {
  axes = document.getElementById("axes");
  if (axes) {
    axes.addEventListener("change", (event) => {
      const asks = ["metric", "axis", "convention"].includes(event.target.name);
      if (asks) filters.clear();
      (asks ? refresh(true) : front.draw(designs, axes, true)).catch(report);
    });
  }
  await refresh(true).catch(report);
  await progress().catch(() => {});
  document.body.dataset.drawn = "yes";
  await loadLater();
});

follow(async () => {
  await refresh(false).catch(report);
  await progress().catch(() => {});
});

document.addEventListener("themed", () => {
  if (!designs) return;
  front.draw(designs, axes, false);
  parallel.draw(designs);
  progress();
});
