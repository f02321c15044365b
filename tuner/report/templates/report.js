(function () {
  "use strict";
  const root = document.documentElement;
  const held = JSON.parse(document.getElementById("figures").textContent);
  const drawings = Array.from(document.querySelectorAll("[data-figure]"));
  const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");
  const asked = new URLSearchParams(window.location.search).get("theme");
  let chosen = asked === "dark" || asked === "light" ? asked : null;

  function theme() {
    return chosen || (prefersDark.matches ? "dark" : "light");
  }

  function paint(name) {
    root.dataset.theme = name;
    drawings.filter((each) => each.dataset.drawn).forEach((each) => {
      window.Plotly.relayout(each, { template: held.themes[name] });
    });
  }

  function draw(element) {
    const figure = held.figures[element.dataset.figure];
    const layout = Object.assign({}, figure.layout, { template: held.themes[root.dataset.theme] });
    // Dragging zooms in and a double click zooms out; a chart without axes has nothing to zoom.
    const buttons = figure.data.some((trace) => trace.type === "pie") ? ["toImage"] : ["toImage", "pan2d", "zoom2d", "resetScale2d"];
    const config = {
      responsive: true,
      displaylogo: false,
      modeBarButtons: [buttons],
      toImageButtonOptions: { filename: held.study + "_" + element.dataset.figure, scale: 2 },
    };
    return window.Plotly.newPlot(element, figure.data, layout, config).then(() => {
      element.dataset.drawn = "yes";
    });
  }

  // One after the other, so that the page can be read and scrolled meanwhile.
  function drawAll(left) {
    if (!left.length) {
      root.dataset.figures = "drawn";
      return;
    }
    draw(left[0]).then(() => window.setTimeout(() => drawAll(left.slice(1)), 0));
  }

  function sortBy(table, column, header) {
    const body = table.tBodies[0];
    const falling = header.getAttribute("aria-sort") === "ascending";
    table.querySelectorAll("th").forEach((each) => each.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const key = (row) => {
      const text = row.cells[column].textContent.trim();
      const value = Number(text.replace(/,/g, ""));
      return text === "" || Number.isNaN(value) ? text : value;
    };
    const rows = Array.from(body.rows).map((row) => [key(row), row]);
    const isText = (value) => typeof value === "string";
    rows.sort(([a], [b]) => {
      if ((a === "") !== (b === "")) return a === "" ? 1 : -1;  // what is not there comes last
      if (isText(a) !== isText(b)) return isText(a) ? 1 : -1;
      const order = isText(a) ? a.localeCompare(b) : a - b;
      return falling ? -order : order;
    });
    rows.forEach(([, row]) => body.append(row));
  }

  document.querySelectorAll("table.sortable").forEach((table) => {
    Array.from(table.tHead.rows[0].cells).forEach((header, column) => {
      header.tabIndex = 0;
      header.title = "Sort by this column";
      header.addEventListener("click", () => sortBy(table, column, header));
      header.addEventListener("keydown", (event) => event.key === "Enter" && sortBy(table, column, header));
    });
  });

  const links = new Map(
    Array.from(document.querySelectorAll(".contents a")).map((link) => [link.getAttribute("href").slice(1), link])
  );
  const watch = new window.IntersectionObserver(
    (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => {
      links.forEach((link) => link.removeAttribute("aria-current"));
      links.get(entry.target.id).setAttribute("aria-current", "true");
    }),
    { rootMargin: "-20% 0px -75% 0px" }
  );
  document.querySelectorAll("main > section").forEach((section) => watch.observe(section));
  document.getElementById("theme").addEventListener("click", () => {
    chosen = theme() === "dark" ? "light" : "dark";
    paint(chosen);
  });
  prefersDark.addEventListener("change", () => paint(theme()));
  window.addEventListener("beforeprint", () => paint("light"));
  window.addEventListener("afterprint", () => paint(theme()));
  paint(theme());
  drawAll(drawings);
})();
