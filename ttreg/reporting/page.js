// The table of ops: a click on a heading sorts by it, a second one turns the order round; the choice above filters.
const table = document.querySelector("table.ops");
for (const [column, heading] of table ? [...table.tHead.rows[0].cells].entries() : []) {
  heading.querySelector("button").addEventListener("click", () => {
    const down = heading.ariaSort ? heading.ariaSort === "ascending" : heading.classList.contains("number");
    const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
    const rows = [...table.tBodies[0].rows];
    rows.sort((a, b) => value(a).localeCompare(value(b), "en", { numeric: false }));
    if (heading.classList.contains("number")) rows.sort((a, b) => value(a) - value(b));
    table.tBodies[0].append(...(down ? rows.reverse() : rows));
    for (const other of table.tHead.rows[0].cells) other.ariaSort = null;
    heading.ariaSort = down ? "descending" : "ascending";
  });
}
for (const choice of document.querySelectorAll(".filter input")) {
  choice.addEventListener("change", () => {
    for (const row of table.tBodies[0].rows) row.hidden = choice.value && !row.classList.contains(`of-${choice.value}`);
  });
}
