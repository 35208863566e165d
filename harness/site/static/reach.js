// What the theme leaves out for those who read by keyboard or by ear.
"use strict";
(function () {
  for (const caption of document.querySelectorAll('.caption[role="heading"]')) caption.setAttribute("aria-level", "2");
  for (const [place, name] of [[".sidebar-drawer", "Pages"], [".toc-drawer", "On this page"]]) {
    document.querySelector(place)?.setAttribute("aria-label", name);
  }

  // What scrolls sideways is reached by the tabulator, and what does not is no stop on the way.
  function reach() {
    for (const part of document.querySelectorAll("pre, .table-wrapper")) {
      if (part.scrollWidth > part.clientWidth) part.tabIndex = 0;
      else part.removeAttribute("tabindex");
    }
  }
  window.addEventListener("resize", reach);
  reach();
})();
