// Wide figures scroll on narrow pages, so the keyboard must reach them. The theme names every fold "Toggle hidden content"; name each by what it holds.
window.addEventListener("load", () => {
  for (const figure of document.querySelectorAll(".bd-content figure")) {
    if (figure.scrollWidth > figure.clientWidth) figure.tabIndex = 0;
  }
  for (const button of document.querySelectorAll(".toggle-button")) {
    const title = button.closest(".admonition")?.querySelector(".admonition-title")?.textContent.trim() ?? "";
    const name = () => button.setAttribute("aria-label", `${button.dataset.toggleHint ?? "Click to show"}: ${title}`);
    new MutationObserver(name).observe(button, {attributeFilter: ["data-toggle-hint"]});
    name();
  }
});
