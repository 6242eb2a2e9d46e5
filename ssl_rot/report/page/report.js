"use strict";
// A click on a heading sorts by its column; a second click reverses the order.
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => heading.querySelector("button").addEventListener("click", () => {
    const direction = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of headings) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
    const key = (row) => {
      const text = row.cells[column].dataset.sort;
      const number = { "inf": Infinity, "-inf": -Infinity }[text] ?? Number(text);
      return text === "" || Number.isNaN(number) ? text : number;
    };
    const compare = (a, b) => {
      if (typeof a === "number" && typeof b === "number") return a === b ? 0 : a < b ? -1 : 1;
      if (typeof a === typeof b) return a.localeCompare(b);
      return typeof a === "number" ? -1 : 1;
    };
    const rows = [...table.tBodies[0].rows];
    rows.sort((a, b) => direction * compare(key(a), key(b)));
    table.tBodies[0].append(...rows);
  }));
}
