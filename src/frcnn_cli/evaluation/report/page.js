"use strict";
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th");
    const table = head.closest("table");
    const down = head.getAttribute("aria-sort") !== "descending";
    for (const other of table.querySelectorAll("th")) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const value = (row) => row.cells[head.cellIndex].dataset.value;
    const order = (a, b) => {
      const [x, y] = [value(a), value(b)];
      const difference = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
      return down ? -difference : difference;
    };
    const body = table.tBodies[0];
    body.append(...[...body.rows].sort(order));
  });
}
const filters = document.querySelector("#filters");
if (filters) {
  filters.hidden = false;
  const choose = () => {
    const type = filters.elements.type.value;
    const name = filters.elements.class.value;
    for (const figure of document.querySelectorAll(".gallery figure")) {
      figure.hidden = (type && figure.dataset.type !== type) || (name && figure.dataset.class !== name);
    }
  };
  filters.addEventListener("change", choose);
  choose();
}
for (const image of document.querySelectorAll(".gallery img")) {
  image.addEventListener("click", () => image.closest("figure").classList.toggle("large"));
}
