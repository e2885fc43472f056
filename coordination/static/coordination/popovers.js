// Small forms that open from a button (<details class="popover">): one at a time, closed by Escape and by a click beside.

const SELECTOR = "details.popover";

function closeAll(but = null) {
  for (const open of document.querySelectorAll(`${SELECTOR}[open]`)) if (open !== but) open.open = false;
}

document.addEventListener("click", (event) => closeAll(event.target.closest(SELECTOR)));
document.addEventListener("keydown", (event) => {
  const open = event.key === "Escape" && document.querySelector(`${SELECTOR}[open]`);
  if (!open) return;
  event.preventDefault(); // it closes this alone
  const inside = open.contains(document.activeElement);
  open.open = false;
  if (inside) open.querySelector("summary").focus();
});
for (const popover of document.querySelectorAll(SELECTOR)) {
  popover.addEventListener("toggle", () => {
    if (popover.open) popover.querySelector("input:not([type=hidden]), button")?.focus();
  });
}
