// Figures with sliders (mli_utils/figures/moving.py): every setting was computed beforehand, Plotly draws the chosen one.
(function () {
  function begin(root) {
    root.dataset.drawn = "";
    const {always, cases, layout, values} = JSON.parse(root.querySelector("script[type='application/json']").textContent);
    const inputs = Array.from(root.querySelectorAll("input")), plot = root.querySelector(".plot");
    function draw() {
      const chosen = inputs.map((input, i) => values[i][input.value]);
      inputs.forEach((input, i) => {
        input.nextElementSibling.textContent = chosen[i];
        input.setAttribute("aria-valuetext", chosen[i]);
      });
      const clear = "rgba(0,0,0,0)", faint = "rgba(128,128,128,0.3)";
      const dark = document.documentElement.dataset.theme === "dark";  // then book.css inverts the plot, as its twin
      const look = {font: {color: dark ? "#222" : getComputedStyle(root).color}, paper_bgcolor: clear, plot_bgcolor: clear};
      for (const [key, value] of Object.entries(layout)) {
        if (/axis/.test(key)) look[key] = Object.assign({gridcolor: faint, zerolinecolor: faint}, value);
      }
      Plotly.react(plot, always.concat(cases[chosen.join("|")]), Object.assign({}, layout, look),
        {responsive: true, displayModeBar: false});
    }
    root.querySelector("form").addEventListener("input", draw);
    new MutationObserver(draw).observe(document.documentElement, {attributeFilter: ["data-theme"]});
    draw();
  }
  const all = () => document.querySelectorAll(".interactive:not([data-drawn])").forEach(begin);
  if (document.readyState === "complete") all();
  else window.addEventListener("load", all);
})();
