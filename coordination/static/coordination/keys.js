// Keys of a batch's page. None of them starts, commits or rolls back anything.

const WRITING = "input, textarea, select, [contenteditable]";

export function listen({ tabs, search, failedOnly, neighbour, close, pause }) {
  const help = document.getElementById("help");
  const toggleHelp = () => (help.open ? help.close() : help.showModal());
  document.getElementById("help-open").addEventListener("click", toggleHelp);
  const keys = {
    "?": toggleHelp,
    "/": search,
    f: failedOnly,
    n: () => neighbour(1),
    p: () => neighbour(-1),
    Escape: close,
    " ": pause,
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const writing = event.target.closest(WRITING);
    if (writing && event.key !== "Escape") return;
    if (help.open && event.key !== "?") return;
    // A key that works on what has the focus is not ours.
    if (event.key === " " && event.target.closest("a, button, summary, pre, [role=region]")) return;
    const tab = Number(event.key) >= 1 && tabs[Number(event.key) - 1];
    const work = tab || keys[event.key];
    if (!work) return;
    if (event.key !== "Escape") event.preventDefault();
    work(event);
  });
}
