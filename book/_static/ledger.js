// A filter for the claims of the ledger (mli_utils/claims/account.py); without scripts all cards are shown.
document.addEventListener("DOMContentLoaded", () => {
  const cards = Array.from(document.querySelectorAll(".claim"));
  if (!cards.length) return;
  const verdicts = ["fails", "undecided", "holds", "not run"].filter((one) => cards.some((card) => card.dataset.verdict === one));
  const form = document.createElement("form");
  form.className = "ledger-filter";
  form.setAttribute("role", "search");
  form.innerHTML = '<label>Find <input type="search" name="words" placeholder="plateau, depth, VGG …"></label><fieldset>' +
    "<legend>Show</legend>" + verdicts.map((one) => {
      const count = cards.filter((card) => card.dataset.verdict === one).length;
      return `<label><input type="checkbox" name="verdict" value="${one}" checked> ${one} (${count})</label>`;
    }).join(" ") + '</fieldset><output aria-live="polite"></output>';
  cards[0].closest("section").querySelector(".claim, h3").before(form);
  function filter() {
    const words = form.words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const chosen = Array.from(form.querySelectorAll("[name=verdict]:checked"), (box) => box.value);
    let shown = 0;
    for (const card of cards) {
      const said = card.textContent.toLowerCase();
      card.hidden = !chosen.includes(card.dataset.verdict) || !words.every((word) => said.includes(word));
      shown += !card.hidden;
    }
    form.querySelector("output").textContent = shown === cards.length ? `${shown} claims` : `${shown} of ${cards.length} claims`;
  }
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  filter();
  const asked = document.getElementById(location.hash.slice(1));
  if (asked && asked.matches(".claim")) {
    asked.querySelector("details").open = true;
    asked.scrollIntoView();
  }
});
