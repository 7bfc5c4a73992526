// Which designs are shown: by text, state, metric, cost, and by stretches of the parallel axes.

export class Filters {
  constructor(form) {
    this.form = form;
    this.axes = new Map(); // name of a parallel axis -> [low, high] of its positions
    this.position = null; // (name, index) -> where a design lies on a parallel axis
    this.keep = [];
    this.changed = () => {};
    form.addEventListener("input", () => this.update());
    form.addEventListener("reset", () => {
      this.axes.clear();
      setTimeout(() => this.update());
    });
    form.addEventListener("submit", (event) => event.preventDefault());
  }

  use(designs) {
    this.designs = designs;
    this.form.querySelector("[data-axis=value]").textContent = designs.metric;
    this.form.querySelector("[data-axis=paid]").textContent = designs.axis_title;
    this.work();
  }

  clear() {
    this.axes.clear();
    this.form.reset();
  }

  /** Keeps what lies in a box of the plot; null frees it. */
  box(range) {
    const values = range ? [...range.y, ...range.x] : ["", "", "", ""];
    ["value-from", "value-to", "paid-from", "paid-to"].forEach((name, index) => {
      const value = values[index];
      this.form.elements[name].value = value === "" ? "" : Number(value.toPrecision(5));
    });
    this.update();
  }

  update() {
    this.work();
    this.changed();
  }

  get any() {
    return this.keep.length < (this.designs?.number.length ?? 0);
  }

  work() {
    const d = this.designs;
    if (!d) return;
    const { text, state } = Object.fromEntries(new FormData(this.form));
    const words = text.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const range = (name) => ["from", "to"].map((end) => {
      const value = this.form.elements[`${name}-${end}`].value;
      return value === "" ? null : Number(value);
    });
    const inside = (value, [low, high]) =>
      (low === null && high === null) || (value !== null && (low === null || value >= low) && (high === null || value <= high));
    const value = range("value");
    const paid = range("paid");
    this.keep = [];
    for (let i = 0; i < d.number.length; i++) {
      if (state && (state === "front" ? !d.front[i] : d.state[i] !== state)) continue;
      if (!inside(d.value[i], value) || !inside(d.paid[i], paid)) continue;
      if (words.length) {
        const name = `${d.number[i]} ${d.architecture[i]} ${d.fingerprint[i]} ${d.source[i]}`.toLowerCase();
        if (!words.every((word) => name.includes(word))) continue;
      }
      let passes = true;
      for (const [axis, stretch] of this.axes) passes &&= inside(this.position(axis, i), stretch);
      if (passes) this.keep.push(i);
    }
  }
}
