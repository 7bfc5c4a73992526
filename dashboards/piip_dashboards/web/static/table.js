// The designs as rows, a page at a time.

import { breakable, element, glyph, metric, number } from "./plot.js";

const NARROW = matchMedia("(max-width: 700px)");
const ROWS = NARROW.matches ? 10 : 25;
const MOST = 4;

const COLUMNS = [
  { name: "number", title: "Trial", numeric: true, key: (d, i) => d.number[i], cell: (d, i) => d.number[i] },
  { name: "glyph", title: "", cell: (d, i) => glyph(d.branches[i], 28) },
  { name: "architecture", title: "Design", key: (d, i) => d.architecture[i] },
  { name: "value", title: (d) => d.metric, numeric: true, down: (d) => d.rises, key: (d, i) => d.value[i], cell: value },
  { name: "paid", title: (d) => d.axis_title, numeric: true, key: (d, i) => d.paid[i], cell: (d, i) => number(d.paid[i]) },
  { name: "mparams", title: "M params", numeric: true, key: (d, i) => d.mparams[i], cell: (d, i) => number(d.mparams[i]) },
  { name: "interactions", title: "Interactions", numeric: true, key: (d, i) => d.interactions[i], cell: (d, i) => d.interactions[i] },
  { name: "state", title: "State", key: (d, i) => d.state[i], cell: (d, i) => state(d, i) },
  { name: "source", title: "Proposed by", key: (d, i) => d.source[i], cell: (d, i) => d.source[i] },
];

function value(d, i) {
  if (d.value[i] !== null) {
    const cell = [metric(d.value[i])];
    if (d.deviation[i] !== null) cell.push(element("span", { className: "plain" }, ` ± ${metric(d.deviation[i])}`));
    return cell;
  }
  return d.lower[i] === null ? "–" : element("span", { className: "plain" }, `(${metric(d.lower[i])} so far)`);
}

function state(d, i) {
  const words = { done: "done", paused: `paused at rung ${d.rung[i] + 1}`, running: "running", failed: "failed" };
  const nodes = [element("span", { className: `state state-${d.state[i]}` }, words[d.state[i]])];
  if (d.front[i]) nodes.push(" ", element("span", { className: "tag good-tag" }, "front"));
  return nodes;
}

/** On a phone the numbers come before the long names. */
const SHOWN = NARROW.matches ? ["number", "glyph", "value", "paid", "architecture", "mparams", "interactions", "state", "source"].map((name) => COLUMNS.find((one) => one.name === name)) : COLUMNS;

/** The columns, with one for each metric and cost that is searched together with the shown ones. */
function columnsOf(designs) {
  const further = Object.entries(designs.further).map(([title, values]) => ({
    name: `further ${title}`,
    title,
    numeric: true,
    key: (_, i) => values[i],
    cell: (_, i) => (values[i] === null ? "–" : number(values[i])),
  }));
  const after = SHOWN.findIndex((column) => column.name === "paid") + 1;
  const rest = SHOWN.slice(after).filter((column) => !(column.title in designs.further));
  return [...SHOWN.slice(0, after), ...further, ...rest];
}

export class Table {
  constructor(filters, search, pointed) {
    this.filters = filters;
    this.search = search;
    this.pointed = pointed;
    this.table = document.getElementById("table");
    this.count = document.getElementById("table-count");
    this.now = document.getElementById("page-now");
    this.compare = document.getElementById("compare");
    this.page = 0;
    this.sort = { name: "value", down: null }; // the best first, once it is known which end is the best
    this.picked = new Set();
    document.getElementById("page-before").addEventListener("click", () => this.turn(-1));
    document.getElementById("page-after").addEventListener("click", () => this.turn(1));
    this.compare.addEventListener("click", () => {
      const query = [...this.picked].map((one) => `design=${encodeURIComponent(one)}`).join("&");
      location.href = `${this.search}/compare?${query}`;
    });
    this.marked = null;
  }

  draw(designs) {
    this.designs = designs;
    this.sort.down ??= designs.rises;
    const row = element("tr", {}, element("th", { scope: "col" }, element("span", { className: "sr" }, "Compare")));
    for (const column of columnsOf(designs)) {
      const title = typeof column.title === "function" ? column.title(designs) : column.title;
      const head = element("th", { scope: "col", className: column.numeric ? "number" : "" });
      if (column.key) {
        const button = element("button", { type: "button", className: "sort", textContent: title, title: designs.titles[title] ?? "" });
        button.addEventListener("click", () => this.order(column));
        head.append(button);
        const sorted = this.sort.name === column.name;
        head.setAttribute("aria-sort", sorted ? (this.sort.down ? "descending" : "ascending") : "none");
      } else head.append(element("span", { className: "sr" }, "Drawing"));
      row.append(head);
    }
    const focused = document.activeElement?.textContent;
    const inHead = this.table.tHead.contains(document.activeElement);
    this.table.tHead.replaceChildren(row);
    if (inHead) [...row.querySelectorAll("button")].find((one) => one.textContent === focused)?.focus();
    this.rows();
  }

  filter() {
    this.page = 0;
    this.rows();
  }

  order(column) {
    const same = this.sort.name === column.name;
    this.sort = { name: column.name, down: same ? !this.sort.down : Boolean(column.down?.(this.designs)) };
    this.page = 0;
    this.draw(this.designs);
  }

  turn(by) {
    this.page += by;
    this.rows();
  }

  sorted() {
    const column = [...COLUMNS, ...columnsOf(this.designs)].find((one) => one.name === this.sort.name) ?? COLUMNS.find((one) => one.name === "value");
    const direction = this.sort.down ? -1 : 1;
    const keys = this.filters.keep.map((i) => [column.key(this.designs, i), i]);
    return keys
      .sort(([a, i], [b, j]) => {
        if (a === null || b === null) return (a === null) - (b === null) || i - j; // what is not known comes last
        return (a < b ? -1 : a > b ? 1 : 0) * direction || i - j;
      })
      .map(([, i]) => i);
  }

  reveal(index) {
    const place = this.sorted().indexOf(index);
    if (place < 0) return;
    this.marked = index;
    this.page = Math.floor(place / ROWS);
    this.rows();
  }

  rows() {
    const d = this.designs;
    const order = this.sorted();
    const pages = Math.max(1, Math.ceil(order.length / ROWS));
    this.page = Math.min(Math.max(this.page, 0), pages - 1);
    const shown = order.slice(this.page * ROWS, (this.page + 1) * ROWS);
    const bodyRows = shown.map((i) => this.row(d, i));
    if (!bodyRows.length) {
      const text = d.number.length ? "No design passes these filters." : "No design was proposed yet.";
      bodyRows.push(element("tr", {}, element("td", { colSpan: columnsOf(this.designs).length + 1, className: "plain" }, text)));
    }
    const focus = document.activeElement?.dataset?.row;
    this.table.tBodies[0].replaceChildren(...bodyRows);
    if (focus) this.table.querySelector(`[data-row="${focus}"]`)?.focus();
    this.count.textContent = `${order.length.toLocaleString("en")} of ${d.number.length.toLocaleString("en")} designs`;
    this.now.textContent = `page ${this.page + 1} of ${pages}`;
    document.getElementById("page-before").disabled = this.page === 0;
    document.getElementById("page-after").disabled = this.page === pages - 1;
    this.pick();
  }

  row(d, i) {
    const fingerprint = d.fingerprint[i];
    const box = element("input", { type: "checkbox", checked: this.picked.has(fingerprint) });
    box.setAttribute("aria-label", `Compare trial ${d.number[i]}`);
    box.dataset.row = `box-${fingerprint}`;
    box.addEventListener("change", () => {
      this.picked[box.checked ? "add" : "delete"](fingerprint);
      this.pick();
    });
    const row = element("tr", { className: i === this.marked ? "marked" : "" }, element("td", {}, box));
    for (const column of columnsOf(this.designs)) {
      let cell;
      if (column.name === "architecture") {
        const link = element("a", { className: "design", href: `${this.search}/design/${fingerprint}` }, ...breakable(d.architecture[i]));
        link.dataset.row = `link-${fingerprint}`;
        link.addEventListener("focus", () => this.pointed(i));
        cell = [link];
      } else cell = [column.cell(d, i)].flat();
      row.append(element("td", { className: column.numeric ? "number" : "" }, ...cell.map((one) => (one instanceof Node ? one : String(one)))));
    }
    row.addEventListener("mouseenter", () => this.pointed(i));
    return row;
  }

  pick() {
    const count = this.picked.size;
    this.compare.disabled = count < 2 || count > MOST;
    this.compare.textContent = count ? `Compare ${count} selected design${count > 1 ? "s" : ""}` : "Compare selected designs";
    this.table.querySelectorAll("tbody input").forEach((box) => (box.disabled = !box.checked && count >= MOST));
  }
}
