"use strict";
// Sifting: each `.sifter` hides those elements marked with its name that do not hold what is asked for.
for (const sifter of document.querySelectorAll(".sifter")) {
  const name = sifter.dataset.rows;
  const rows = [...document.querySelectorAll("[data-row]")].filter((row) => row.dataset.row === name);
  const counted = rows.filter((row) => row.tagName === "TR");
  const [find, output] = [sifter.querySelector("input"), sifter.querySelector("output")];
  const choices = [...sifter.querySelectorAll("select")];
  const sift = () => {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) {
      row.hidden = !(
        words.every((word) => row.dataset.words.includes(word)) &&
        choices.every((choice) => !choice.value || row.dataset[choice.dataset.choice] === choice.value)
      );
    }
    output.textContent = `${counted.filter((row) => !row.hidden).length} of ${counted.length}`;
  };
  for (const kind of ["input", "change"]) sifter.addEventListener(kind, sift);
  sifter.hidden = false;
  sift();
}
// Sorting: a column's title becomes a button; numbers sort as numbers, equals keep their order.
const compare = (a, b) => (isNaN(a) || isNaN(b) || a === "" || b === "" ? a.localeCompare(b) : a - b);
for (const head of document.querySelectorAll(".grid th")) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...head.childNodes);
  head.append(button);
  button.addEventListener("click", () => {
    const way = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
    for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", way);
    const body = head.closest("table").tBodies[0];
    const sign = way === "ascending" ? 1 : -1;
    const key = (row) => row.cells[head.cellIndex].dataset.key;
    body.append(...[...body.rows].sort((a, b) => sign * compare(key(a), key(b))));
  });
}
// A link to an artifact opens it.
const unfold = () => {
  const item = location.hash && document.getElementById(location.hash.slice(1));
  if (item instanceof HTMLDetailsElement) {
    item.open = true;
    item.scrollIntoView();
  }
};
addEventListener("hashchange", unfold);
for (const link of document.querySelectorAll('a[href^="#"]')) link.addEventListener("click", () => setTimeout(unfold));
unfold();
// The Gantt tells of the bar that is pointed at.
for (const figure of document.querySelectorAll(".gantt")) {
  const readout = figure.querySelector(".readout");
  figure.addEventListener("pointerover", (event) => {
    const title = event.target.closest("rect")?.querySelector("title");
    if (title) readout.textContent = title.textContent;
  });
}
