"use strict";
const parts = [...document.querySelectorAll(".part")];
const readout = document.getElementById("readout");
const cursor = document.getElementById("cursor");
const show = (part) => {
  readout.textContent = part.title;
  const scale = 1000 / Number(cursor.dataset.total);
  const width = Math.max(Number(part.dataset.length) * scale, 2);
  cursor.setAttribute("x", Math.min(Number(part.dataset.start) * scale, 1000 - width));
  cursor.setAttribute("width", width);
};
const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
parts.forEach((part, index) => {
  part.addEventListener("mouseenter", () => show(part));
  part.addEventListener("focus", () => show(part));
  part.addEventListener("keydown", (event) => {
    const next = parts[index + steps[event.key]];
    if (!next) return;
    event.preventDefault();
    part.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
});
