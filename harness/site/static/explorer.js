// Draws a table from the data in the page, with a choice for each filter. What is chosen stands in the address, so that
// another page can link to it: claims.html#verdict=contradicted&family=audio
"use strict";
(function () {
  const explorer = document.querySelector(".explorer");
  const data = JSON.parse(explorer.querySelector("script.data").textContent);
  const NOTHING = "—";

  function element(name, attributes, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  function escaped(text) {
    return element("i", {}, String(text)).innerHTML;
  }

  function probability(p) {
    return p < 0.0001 ? "< 0.0001" : Number(p.toPrecision(2)).toString();
  }

  const shown = {
    text: (value) => escaped([].concat(value).join(", ") || NOTHING),
    number: (value) => value.toLocaleString("en"),
    percent: (value) => (value > 0 ? "+" : value < 0 ? "−" : "") + Math.abs(value).toFixed(1),
    probability: probability,
    verdict: (value) => `<span class="verdict ${value.replace(" ", "-")}">${escaped(value)}</span>`,
    paper: (value, row) =>
      row.family ? `<a href="papers/${row.family}/${value}/README.html">${escaped(value)}</a>` : `<em>${escaped(value)}</em>`,
    shown: (value, row) => escaped(row.shown),
    timed: (value, row) => escaped(row.time),
  };
  const sortedAs = { number: "num", percent: "num", probability: "num", shown: "num", timed: "num" };

  function column(spec) {
    return {
      data: spec.key,
      title: spec.title,
      type: sortedAs[spec.kind] || "string",
      className: [spec.key, spec.hide || ""].join(" ").trim(),
      orderSequence: spec.kind === "percent" ? ["desc", "asc"] : ["asc", "desc"],
      render: function (value, purpose, row) {
        const missing = value === null || value === undefined;
        if (purpose === "sort" || purpose === "type") {
          // What is missing comes last where large values come first, and last where small ones do.
          if (missing) return spec.kind === "percent" ? -Infinity : Infinity;
          return Array.isArray(value) ? value.join(", ") : value;
        }
        if (purpose === "filter") return [value, spec.small ? row[spec.small] : ""].flat().join(" ");
        const small = spec.small && row[spec.small] !== NOTHING ? `<small>${escaped(row[spec.small])}</small>` : "";
        return (missing ? NOTHING : shown[spec.kind](value, row)) + small;
      },
    };
  }

  // The filters: a choice each, of the values that are there.
  const choices = {};
  const form = element("form", { class: "filters", "aria-label": "Filters" });
  for (const key of data.filters) {
    const values = [...new Set(data.rows.flatMap((row) => row[key]))].filter((value) => value !== NOTHING);
    const count = (value) => (data.first === key ? data.rows.filter((row) => row[key] === value).length : 0);
    values.sort((a, b) => count(b) - count(a) || (a < b ? -1 : a > b ? 1 : 0));
    const options = values.map((value) => element("option", { value: value }, String(value)));
    choices[key] = element("select", { id: "filter-" + key, name: key }, element("option", { value: "" }, "all"), ...options);
    form.append(element("label", { for: "filter-" + key }, key, choices[key]));
  }
  const clear = element("button", { type: "button" }, "clear");
  form.append(clear);

  function read() {
    const asked = new URLSearchParams(location.hash.slice(1));
    for (const key of data.filters) choices[key].value = asked.get(key) || "";
    if (data.first && ![...asked].length) choices[data.first].selectedIndex = 1;
  }

  function chosen() {
    return data.filters.filter((key) => choices[key].value).map((key) => [key, choices[key].value]);
  }

  const table = element("table", { class: "display", "aria-label": document.querySelector("h1").firstChild.textContent });
  explorer.append(form, element("div", { class: "scrolling", tabindex: "0", role: "region", "aria-label": "Table" }, table));
  read();
  const keys = data.columns.map((spec) => spec.key);
  const drawn = new window.DataTable(table, {
    data: data.rows,
    columns: data.columns.map(column),
    order: data.order.map(([key, way]) => [keys.indexOf(key), way]),
    pageLength: 25,
    lengthMenu: [25, 100, { label: "all", value: -1 }],
    deferRender: true,
    autoWidth: false,
    language: { search: "words", lengthMenu: "_MENU_ rows", info: "_START_ to _END_ of _TOTAL_", infoFiltered: "(of _MAX_)" },
  });
  drawn.search.fixed("filters", (text, row) => chosen().every(([key, value]) => [].concat(row[key]).map(String).includes(value)));
  drawn.draw();

  form.addEventListener("change", function () {
    history.replaceState(null, "", "#" + new URLSearchParams(chosen()));
    drawn.draw();
  });
  clear.addEventListener("click", function () {
    for (const select of Object.values(choices)) select.value = "";
    form.dispatchEvent(new Event("change"));
  });
  window.addEventListener("hashchange", function () {
    read();
    drawn.draw();
  });

  // DataTables looks for its dark colours at the root; the theme says which it has at the body.
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  function follow() {
    const theme = document.body.dataset.theme;
    document.documentElement.classList.toggle("dark", theme === "dark" || (theme !== "light" && dark.matches));
  }
  new MutationObserver(follow).observe(document.body, { attributes: true, attributeFilter: ["data-theme"] });
  dark.addEventListener("change", follow);
  follow();
})();
