// Wide figures and formulas scroll on narrow pages, so a reader must see it and the keyboard reach them. The theme names every fold "Toggle hidden content"; name each by what it holds.
window.addEventListener("load", async () => {
  for (const button of document.querySelectorAll(".toggle-button")) {
    const title = button.closest(".admonition")?.querySelector(".admonition-title")?.textContent.trim() ?? "";
    const name = () => button.setAttribute("aria-label", `${button.dataset.toggleHint ?? "Click to show"}: ${title}`);
    new MutationObserver(name).observe(button, {attributeFilter: ["data-toggle-hint"]});
    name();
  }
  await window.MathJax?.startup?.promise;
  const sized = new ResizeObserver(parts => {
    for (const {target} of parts) {
      const wide = target.scrollWidth > target.clientWidth;
      target.classList.toggle("scrolls", wide);
      if (wide) target.tabIndex = 0;
      else target.removeAttribute("tabindex");
    }
  });
  for (const part of document.querySelectorAll('.bd-content figure, .interactive .scrolled, .bd-content mjx-container[display="true"]')) {
    sized.observe(part);
  }
});
