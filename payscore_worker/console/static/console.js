// Says when what is on the page is old, and ends polling where the page says that nothing will change any more.
"use strict";

const lost = document.getElementById("lost");

function tell(isLost) {
  lost.hidden = !isLost;
  document.body.classList.toggle("old", isLost);
}

for (const event of ["htmx:sendError", "htmx:timeout", "htmx:responseError"]) {
  document.body.addEventListener(event, () => tell(true));
}
document.body.addEventListener("htmx:afterSwap", (event) => {
  tell(false);
  // A replay that is over is asked about no more.
  const stage = document.getElementById("stage");
  if (event.detail.target.id === "live" && stage !== null && !stage.classList.contains("running")) {
    event.detail.target.removeAttribute("hx-get");
    event.detail.target.removeAttribute("hx-trigger");
    htmx.process(event.detail.target);
  }
});
