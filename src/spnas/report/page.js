"use strict";
const dark = window.matchMedia("(prefers-color-scheme: dark)");

function read(id) {
  return JSON.parse(document.getElementById(id).textContent);
}

// The charts are made in the light palette: every colour of it stands for exactly one dark colour.
function recolour(value, table) {
  if (typeof value === "string") return table[value] ?? value;
  if (Array.isArray(value)) return value.map((item) => recolour(item, table));
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, recolour(item, table)]));
}

function drawCharts(forPrint) {
  const places = document.querySelectorAll("[data-chart]");
  if (!places.length || !window.Plotly) return;
  const table = dark.matches && !forPrint ? read("dark-forms") : {};
  const config = { responsive: true, displayModeBar: false, doubleClick: false, showTips: false };
  for (const place of places) {
    const figure = recolour(read(place.dataset.chart), table);
    if (place.clientWidth < 480 && figure.layout.showlegend) {
      figure.layout.height += 18 * figure.data.length; // a narrow legend is a column: the plot keeps its height
    }
    Plotly.react(place, figure.data, figure.layout, config);
  }
}

function sortable(table) {
  const body = table.tBodies[0];
  table.querySelectorAll("th button").forEach((button) => {
    const head = button.parentElement;
    button.addEventListener("click", () => {
      const falling = head.getAttribute("aria-sort") === "descending" ? 1 : -1;
      const key = (row) => row.cells[head.cellIndex].dataset.value ?? "";
      const numeric = head.classList.contains("n");
      const rows = [...body.rows].sort((a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === "" || y === "") return (x === "") - (y === ""); // what is missing goes last, either way
        return falling * (numeric ? x - y : x.localeCompare(y));
      });
      table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", falling === 1 ? "ascending" : "descending");
      body.append(...rows);
    });
  });
}

async function copy(button) {
  const code = button.previousElementSibling;
  try {
    await navigator.clipboard.writeText(code.textContent);
  } catch {
    const range = document.createRange(); // no clipboard for this page: select it, so that one key copies it
    range.selectNodeContents(code);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    return;
  }
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = "Copy"), 1500);
}

document.querySelectorAll("table.sortable").forEach(sortable);
document.querySelectorAll(".command button").forEach((button) => {
  button.hidden = false;
  button.addEventListener("click", () => copy(button));
});
dark.addEventListener("change", () => drawCharts(false));
window.addEventListener("beforeprint", () => drawCharts(true));
window.addEventListener("afterprint", () => drawCharts(false));
drawCharts(false);
