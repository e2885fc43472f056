// What is looked at, as the page's address has it: ?tab=errors&state=failed&q=timeout&sort=-started&page=2&task=87.
// A link in the page either changes one thing (data-tab, data-filter, data-order, data-task), or is an address itself.

const KEYS = ["tab", "state", "q", "sort", "page", "order", "task"];

export class Address {
  #root;
  #go;

  // `go(params, how)` is called with what is to be shown: how is "link", "form" or "history".
  constructor(root, go) {
    this.#root = root;
    this.#go = go;
    root.addEventListener("click", (event) => this.#clicked(event));
    root.addEventListener("submit", (event) => this.#submitted(event));
    addEventListener("popstate", () => this.#go(this.now, "history"));
  }

  get now() {
    return new URLSearchParams(location.search);
  }

  get task() {
    return Number(this.now.get("task")) || 0;
  }

  get tab() {
    return this.now.get("tab") || "grid";
  }

  // Change some of it; an empty value takes one away.
  change(changes, how = "link") {
    this.#show(this.#with(changes), how);
  }

  // Make the links that change one thing good to be copied or opened elsewhere.
  refresh() {
    for (const link of this.#root.querySelectorAll("[data-tab], [data-filter], [data-order], a[data-task]")) {
      link.href = `?${this.#with(this.#changesOf(link))}`;
    }
  }

  #with(changes) {
    const params = this.now;
    for (const [key, value] of Object.entries(changes)) {
      if (value) params.set(key, value);
      else params.delete(key);
    }
    if (params.get("tab") === "grid") params.delete("tab");
    if (params.get("order") === "number") params.delete("order");
    return params;
  }

  #changesOf(link) {
    const { tab, filter, order, task } = link.dataset;
    if (tab !== undefined) return { tab, page: "" };
    if (filter !== undefined) return { state: this.now.get("state") === filter ? "" : filter, page: "" };
    if (order !== undefined) return { order, tab: "grid" };
    return { task };
  }

  #clicked(event) {
    const link = event.target.closest("a");
    if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    if (link.matches("[data-tab], [data-filter], [data-order], a[data-task]")) {
      event.preventDefault();
      this.#show(this.#with(this.#changesOf(link)), "link");
    } else if (link.getAttribute("href")?.startsWith("?")) {
      event.preventDefault();
      this.#showOf(new URLSearchParams(link.search), "link");
    }
  }

  #submitted(event) {
    if (event.target.method !== "get") return;
    event.preventDefault();
    this.#showOf(new URLSearchParams(new FormData(event.target)), "form");
  }

  // The table's own address: what it does not know of stays as it is.
  #showOf(params, how) {
    for (const key of ["task", "order"]) {
      params.delete(key);
      if (this.now.has(key)) params.set(key, this.now.get(key));
    }
    for (const key of KEYS) if (!params.get(key)) params.delete(key);
    this.#show(params, how);
  }

  #show(params, how) {
    const search = params.toString();
    if (search !== this.now.toString()) history.pushState(null, "", search ? `?${search}` : location.pathname);
    this.#go(params, how);
  }
}
