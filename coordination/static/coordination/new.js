// Starting a batch: what the dry run was of is what may be started. The server holds this too.

const form = document.getElementById("start");
const preview = document.getElementById("preview");
const go = document.getElementById("go");

if (preview) {
  preview.scrollIntoView({ block: "nearest" });
  form.addEventListener("input", () => {
    preview.classList.add("old");
    go.disabled = true;
    preview.querySelector("h2").textContent = "Dry run, of other values";
  });
}

// One start is enough, though the key would make a second one harmless; back from another page it works again.
form.addEventListener("submit", () => form.classList.add("sent"));
addEventListener("pageshow", () => form.classList.remove("sent"));
