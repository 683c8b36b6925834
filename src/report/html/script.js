"use strict";
// Adds sorting and filtering to tables. The page is complete without it.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const key = (row, i) => {
    const cell = row.cells[i];
    const value = cell.dataset.v ?? cell.textContent.trim();
    const number = value === "" ? NaN : Number(value);
    return { number, text: value };
  };
  heads.forEach((head, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const h of heads) h.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...body.rows].map((row) => [key(row, i), row]);
      rows.sort(([a], [b]) => {
        const an = Number.isNaN(a.number), bn = Number.isNaN(b.number);
        // Numbers before words, and cells without a value last, whatever the direction.
        if (an !== bn) return an ? 1 : -1;
        const order = an ? a.text.localeCompare(b.text) : a.number - b.number;
        return down ? -order : order;
      });
      body.append(...rows.map(([, row]) => row));
    });
  });
  if (body.rows.length < 6) continue;
  const tool = document.createElement("div");
  tool.className = "tool";
  const label = document.createElement("label");
  label.textContent = "Filter rows ";
  const input = document.createElement("input");
  input.type = "search";
  label.append(input);
  const shown = document.createElement("span");
  shown.setAttribute("role", "status");
  tool.append(label, shown);
  (table.closest(".scroll") ?? table).before(tool);
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of body.rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((w) => text.includes(w));
      if (!row.hidden) count += 1;
    }
    shown.textContent = words.length ? `${count} of ${body.rows.length} rows` : "";
  });
}
