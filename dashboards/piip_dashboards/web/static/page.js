// What every page does: parts that follow the page, live updates, buttons that copy or start something, the theme.

const body = document.body;
const followers = new Set();

/** Calls a function whenever the ledger grew; it gets the positions of all runs. */
export function follow(callback) {
  followers.add(callback);
}

export async function json(address) {
  const answer = await fetch(address, { headers: { accept: "application/json" } });
  const content = await answer.json();
  if (!answer.ok) throw new Error(content.detail || answer.statusText);
  return content;
}

/** Fetches a part and puts it into its place, unless somebody works inside it or nothing changed. */
export async function load(place) {
  const answer = await fetch(place.dataset.part, { headers: { accept: "text/html" } });
  const text = await answer.text();
  place.removeAttribute("aria-busy");
  if (place.dataset.text === text) return;
  const open = [...place.querySelectorAll("details")].map((one) => one.open);
  if (place.contains(document.activeElement) && place.dataset.text !== undefined && !place.hasAttribute("data-job")) return;
  place.dataset.text = text;
  if (answer.ok) {
    place.innerHTML = text; // from our own server, which escapes all that is not its own
    [...place.querySelectorAll("details")].forEach((one, index) => (one.open = open[index] ?? one.open));
  } else {
    place.textContent = "This part could not be loaded.";
  }
  place.dispatchEvent(new CustomEvent("loaded", { bubbles: true }));
}

function loadQuietly(place) {
  return load(place).catch(() => {});
}

const live = document.getElementById("live");

function say(text, kind) {
  if (!live) return;
  live.hidden = false;
  live.className = `live ${kind}`;
  if (live.textContent !== text) live.textContent = text;
}

let positions = null;

/** The positions of the runs that a page shows: of one search, itself and its baselines and audits. */
function shown(found, run) {
  return Object.entries(found).filter(([name]) => !run || name === run || name.startsWith(`${run}.`));
}

async function look() {
  let waited = Number(body.dataset.live) * 1000;
  if (!document.hidden) {
    try {
      const found = await json("/api/versions");
      const run = body.dataset.run;
      const grew = positions && JSON.stringify(shown(found, run)) !== JSON.stringify(shown(positions, run));
      positions = found;
      say("live", "on");
      if (grew) {
        const begun = performance.now();
        await Promise.allSettled([...document.querySelectorAll("[data-follow]")].map(loadQuietly));
        await Promise.allSettled([...followers].map((callback) => callback(found)));
        // A search whose pages take long to make is looked at less often.
        waited = Math.max(waited, 5 * (performance.now() - begun));
      }
    } catch {
      say("the dashboard does not answer", "off");
    }
  }
  setTimeout(look, waited);
}

const REFRESH = 30000; // how long "3 min ago" and a search that stalls may be out of date

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy],[data-start]");
  if (!button) return;
  if (button.dataset.copy !== undefined) {
    await copy(button.dataset.copy);
    const label = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = label), 1500);
  } else {
    button.disabled = true;
    const place = button.closest("[data-part]");
    const answer = await fetch(button.dataset.start, { method: "POST", headers: { "x-requested-by": "piip-dashboard" } });
    if (!answer.ok) button.insertAdjacentText("afterend", ` ${(await answer.json()).detail}`);
    else await load(place);
  }
});

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without a secure connection browsers keep the clipboard to themselves: select the text instead.
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

// What a page started is looked at until it ended.
document.addEventListener("loaded", (event) => {
  const place = event.target;
  if (place.querySelector("[data-busy]")) {
    const again = async () => {
      await loadQuietly(place);
      if (place.querySelector("[data-busy]")) setTimeout(again, 1000);
    };
    setTimeout(again, 1000);
  }
});

document.addEventListener("input", (event) => {
  const slider = event.target.closest("[data-scores]");
  if (!slider) return;
  slider.parentElement.querySelector("output").textContent = Number(slider.value).toFixed(2);
  const place = slider.closest("[data-part]");
  place.querySelectorAll("[data-score]").forEach((box) => box.classList.toggle("below", Number(box.dataset.score) < Number(slider.value)));
});

const theme = document.getElementById("theme");
theme.value = document.documentElement.dataset.theme;
theme.addEventListener("change", () => {
  localStorage.setItem("theme", theme.value);
  document.documentElement.dataset.theme = theme.value;
  document.dispatchEvent(new Event("themed"));
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new Event("themed")));

/** What scrolls sideways can be scrolled by keyboard. */
function reachable() {
  document.querySelectorAll(".scroll, .drawing, .copy code, pre").forEach((one) => {
    if (one.scrollWidth > one.clientWidth) one.tabIndex = 0;
    else one.removeAttribute("tabindex");
  });
}
document.addEventListener("loaded", reachable);
addEventListener("resize", reachable);
new MutationObserver(reachable).observe(document.getElementById("main"), { childList: true, subtree: true });
reachable();

const parts = [...document.querySelectorAll("[data-part]")];

/** When what a page begins with is there. */
export const ready = Promise.allSettled(parts.filter((place) => !("later" in place.dataset)).map(loadQuietly));

/** Fetches what takes the server seconds to work out, one after the other, once everything else is drawn. */
export async function loadLater() {
  for (const place of parts.filter((one) => "later" in one.dataset)) await loadQuietly(place);
}
setTimeout(look, Number(body.dataset.live) * 1000);
setInterval(() => {
  if (!document.hidden) document.querySelectorAll("[data-follow]").forEach(loadQuietly);
}, REFRESH);
