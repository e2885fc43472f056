// Light, dark, or as the system has it: kept in this browser, switched by the button in the header and the key "t".
// Not a module: it runs before the page is painted, so that a chosen theme does not flash the other one first.
(() => {
  const NAMES = ["system", "light", "dark"];
  const root = document.documentElement;
  root.classList.add("js");

  function stored() {
    try {
      return localStorage.getItem("theme");
    } catch {
      return null; // storage is switched off: the theme lasts as long as the page
    }
  }

  let theme = NAMES.includes(stored()) ? stored() : "system";

  function apply() {
    if (theme === "system") delete root.dataset.theme;
    else root.dataset.theme = theme;
    const button = document.getElementById("theme");
    if (button) {
      button.hidden = false;
      button.textContent = `Theme: ${theme}`;
    }
    document.dispatchEvent(new Event("themechange"));
  }

  function next() {
    theme = NAMES[(NAMES.indexOf(theme) + 1) % NAMES.length];
    try {
      localStorage.setItem("theme", theme);
    } catch {
      // as above
    }
    apply();
  }

  apply();
  document.addEventListener("DOMContentLoaded", () => {
    apply();
    document.getElementById("theme")?.addEventListener("click", next);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => apply());
  document.addEventListener("keydown", (event) => {
    if (event.key !== "t" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, textarea, select, [contenteditable]")) return;
    next();
  });
})();
