// Browsers do not let a page that was opened as a file read another one, which the excerpts of search results need.
if (location.protocol === "file:") {
  document.addEventListener("DOMContentLoaded", () => {
    const note = document.createElement("p");
    note.className = "opened-as-file";
    note.setAttribute("role", "note");
    note.textContent = "This book was opened as a file, so search cannot show its results in full: " +
      "run “make serve” and open http://127.0.0.1:8000 instead.";
    document.getElementById("search-results")?.prepend(note);
  });
}
