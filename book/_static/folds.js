// Wide figures and formulas scroll on narrow pages, so a reader must see it and the keyboard reach them. The theme names every fold "Toggle hidden content"; name each by what it holds.
window.addEventListener("load", async () => {
  for (const button of document.querySelectorAll(".toggle-button")) {
    const title = button.closest(".admonition")?.querySelector(".admonition-title")?.textContent.trim() ?? "";
    const name = () => button.setAttribute("aria-label", `${button.dataset.toggleHint ?? "Click to show"}: ${title}`);
    new MutationObserver(name).observe(button, {attributeFilter: ["data-toggle-hint"]});
    name();
  }
  await window.MathJax?.startup?.promise;
  const fit = formula => {  // a formula wider than its page is shown smaller, down to seven tenths
    formula.dataset.size ??= formula.style.fontSize || "100%";
    formula.style.fontSize = formula.dataset.size;
    const share = formula.clientWidth / formula.scrollWidth;
    if (share < 1) formula.style.fontSize = `${parseFloat(formula.dataset.size) * Math.max(0.98 * share, 0.7)}%`;
  };
  const sized = new ResizeObserver(parts => {
    for (const {target} of parts) {
      if (target.matches("mjx-container")) fit(target);
      const wide = target.scrollWidth > target.clientWidth;
      target.classList.toggle("scrolls", wide);
      if (wide) target.tabIndex = 0;
      else target.removeAttribute("tabindex");
    }
  });
  for (const part of document.querySelectorAll('.bd-content figure, .bd-content .pst-scrollable-table-container, .bd-content .cell_output, .interactive .scrolled, .bd-content mjx-container[display="true"]')) {
    sized.observe(part);
  }
});
