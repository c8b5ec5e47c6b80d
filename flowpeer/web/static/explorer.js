// Draws charts from the tables behind them, opens rows, completes names in statements. Tooltips are
// rich text: no markup is made.
"use strict";

(() => {
  const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  const SCALED = { "bit/s": "bps", bytes: "B" };

  const scaled = (unit) => (value) => {
    const prefixes = ["", "k", "M", "G", "T", "P"];
    let power = 0;
    while (Math.abs(value) >= 1000 && power < prefixes.length - 1) { value /= 1000; power += 1; }
    return `${Number(value.toPrecision(3))} ${prefixes[power]}${unit}`;
  };

  const option = (figure, rows) => {
    const { x, y, unit, kind } = figure.dataset;
    const list = (text) => text.split(",").filter(Boolean);
    const by = list(figure.dataset.series);
    const series = new Map();
    const dashed = new Map();
    const put = (where, name, point) => {
      if (!where.has(name)) where.set(name, []);
      where.get(name).push(point);
    };
    for (const row of rows) {
      const name = by.map((column) => String(row[column] ?? "")).join(" ") || y;
      put(series, name, [row[x], row[y]]);
      for (const bound of list(figure.dataset.bounds)) {
        if (row[bound] !== null && row[bound] !== undefined) {
          put(dashed, `${row[by[0]] ?? ""} ${bound.replace("_bps", "")}`, [row[x], row[bound]]);
        }
      }
    }
    const ink = token("--ink");
    const soft = token("--soft");
    const written = SCALED[unit] ? scaled(SCALED[unit]) : (value) => Number(value).toLocaleString("en");
    const axis = { axisLabel: { color: soft }, axisLine: { lineStyle: { color: soft } } };
    const several = new Set(rows.map((row) => row[by[0]])).size > 1;
    const selected = Object.fromEntries([...dashed.keys()].map((name) => [name, !several]));
    const drawn = [...series].map(([name, data]) => ({
      name, data, type: kind, showSymbol: data.length < 3, symbol: "circle",
    }));
    for (const [name, data] of dashed) {
      drawn.push({ name, data, type: "line", showSymbol: false, lineStyle: { type: "dashed", width: 1 } });
    }
    return {
      animation: false,
      color: list(token("--lines")),
      useUTC: true,
      textStyle: { color: ink },
      tooltip: { trigger: "axis", renderMode: "richText", confine: true, valueFormatter: written },
      legend: { type: "scroll", top: 0, bottom: "auto", textStyle: { color: ink }, selected, inactiveColor: soft },
      grid: { left: 10, right: 20, top: 50, bottom: 30, containLabel: true },
      xAxis: { ...axis, type: kind === "bar" ? "category" : "time", name: kind === "bar" ? x : "UTC",
        nameLocation: "middle", nameGap: 28, nameTextStyle: { color: soft } },
      yAxis: { type: "value", name: unit || y, nameTextStyle: { color: soft, align: "left" }, min: 0,
        axisLabel: { color: soft, formatter: written }, splitLine: { lineStyle: { color: token("--line") } } },
      series: drawn,
    };
  };

  const draw = async (figure) => {
    if (figure.dataset.drawn) return;
    figure.dataset.drawn = "begun";
    try {
      const response = await fetch(figure.dataset.src, { headers: { accept: "application/json" } });
      if (!response.ok) throw new Error(String(response.status));
      const rows = await response.json();
      const chart = echarts.init(figure, null, { renderer: "canvas" });
      const fill = () => chart.setOption(option(figure, rows), true);
      fill();
      addEventListener("resize", () => chart.resize());
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", fill);
      figure.dataset.drawn = "done";
    } catch {
      figure.textContent = "The chart could not be drawn; the table below has its figures.";
      figure.dataset.drawn = "failed";
    }
  };

  const drawAll = () => document.querySelectorAll("figure.chart").forEach(draw);

  // A row of a network opens into its explanation, and closes again.
  const open = (link) => {
    const row = link.closest("tr");
    const below = row.nextElementSibling;
    if (below?.classList.contains("opened")) {
      below.remove();
      link.setAttribute("aria-expanded", "false");
      return;
    }
    const made = document.createElement("tr");
    made.className = "opened";
    const cell = made.insertCell();
    cell.colSpan = row.cells.length;
    cell.setAttribute("aria-live", "polite");
    cell.textContent = "Being worked out …";
    row.after(made);
    link.setAttribute("aria-expanded", "true");
    htmx.ajax("GET", link.getAttribute("href"), { target: cell, swap: "innerHTML" });
  };

  // Names of tables, columns and questions, as they are typed into a statement.
  const complete = (area) => {
    if (area.dataset.ready) return;
    area.dataset.ready = "yes";
    const words = area.dataset.words.split(" ");
    const box = document.createElement("ul");
    box.id = "completions";
    box.className = "completions";
    box.hidden = true;
    box.setAttribute("role", "listbox");
    box.setAttribute("aria-label", "Completions");
    area.after(box);
    area.setAttribute("aria-controls", box.id);
    let at = 0;
    const typed = () => area.value.slice(0, area.selectionStart).match(/[A-Za-z_][A-Za-z0-9_]*$/)?.[0] ?? "";
    const close = () => { box.hidden = true; area.removeAttribute("aria-activedescendant"); };
    const mark = (next) => {
      at = (next + box.children.length) % box.children.length;
      [...box.children].forEach((item, i) => item.setAttribute("aria-selected", String(i === at)));
      area.setAttribute("aria-activedescendant", box.children[at].id);
    };
    const take = () => {
      const start = area.selectionStart - typed().length;
      area.setRangeText(box.children[at].textContent, start, area.selectionStart, "end");
      close();
      area.focus();
    };
    area.addEventListener("input", () => {
      const begun = typed().toLowerCase();
      const found = begun.length < 2 ? [] : words.filter((w) => w.toLowerCase().startsWith(begun) && w !== begun).slice(0, 8);
      box.replaceChildren(...found.map((word, i) => {
        const item = document.createElement("li");
        item.id = `completion-${i}`;
        item.setAttribute("role", "option");
        item.textContent = word;
        item.addEventListener("mousedown", (event) => { event.preventDefault(); at = i; take(); });
        return item;
      }));
      box.hidden = !found.length;
      if (found.length) mark(0); else close();
    });
    area.addEventListener("blur", close);
    area.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && event.ctrlKey) { area.form.requestSubmit(); return; }
      if (box.hidden) return;
      const keys = { ArrowDown: () => mark(at + 1), ArrowUp: () => mark(at - 1), Enter: take, Escape: close };
      if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
    });
  };

  const ready = () => {
    drawAll();
    document.querySelectorAll("textarea[data-words]").forEach(complete);
  };
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a.more");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    open(link);
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, textarea, select");
    if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    document.getElementById("find")?.focus();
  });
  document.addEventListener("htmx:afterSettle", ready);
  document.addEventListener("htmx:sendError", (event) => {
    const said = event.detail.target?.querySelector("[role=status]") ?? event.detail.target;
    if (said) said.textContent = "The explorer does not answer: load the page again when it runs.";
  });
  ready();
})();
