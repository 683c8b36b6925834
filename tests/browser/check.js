"use strict";
// Put behind the page by the browser test: tries the page and writes what it saw into the document.
(() => {
  const seen = {};
  const table = document.querySelector("#headline ~ .scroll table.sortable");
  seen.tables = document.querySelectorAll("table").length;
  seen.figures = document.querySelectorAll("figure svg").length;
  const values = (i) => [...table.tBodies[0].rows].map((r) => Number(r.cells[i].dataset.v || NaN));
  const sorted = (list, down) =>
    list.filter((v) => !Number.isNaN(v)).every((v, i, all) => i === 0 || (down ? all[i - 1] >= v : all[i - 1] <= v));
  const button = table.tHead.rows[0].cells[3].querySelector("button");
  button.click();
  seen.ascending = sorted(values(3), false);
  button.click();
  seen.descending = sorted(values(3), true) && !sorted(values(3), false);
  seen.aria = table.tHead.rows[0].cells[3].getAttribute("aria-sort");
  const input = document.querySelector("#headline ~ .tool input");
  input.value = "openvino";
  input.dispatchEvent(new Event("input"));
  const shown = [...table.tBodies[0].rows].filter((r) => !r.hidden);
  seen.filtered = shown.length > 0 && shown.every((r) => r.textContent.toLowerCase().includes("openvino"));
  // Nothing may stick out sideways but what scrolls on its own.
  seen.wide = document.documentElement.scrollWidth > document.documentElement.clientWidth;
  const overlaps = [...document.querySelectorAll("figure[id^=pareto] .wide svg")].some((svg) => {
    const boxes = [...svg.querySelectorAll("text")].map((t) => t.getBoundingClientRect()).filter((b) => b.width > 0);
    return boxes.some((a, i) =>
      boxes.slice(i + 1).some((b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 2 && b.top < a.bottom - 2));
  });
  seen.overlaps = overlaps;
  const out = document.createElement("output");
  out.id = "browser-check";
  out.textContent = JSON.stringify(seen);
  document.body.append(out);
})();
