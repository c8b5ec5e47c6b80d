"""The one script of a page: its tables sort and filter. Without it they are read as they stand.

The page's policy lets this very text run and nothing else: it makes no request, reads no foreign
text as markup, and adds only buttons and boxes of its own. Numbers are read off the cells as they
are shown (three digits); rows that are equal so keep the order of the list. Rows that are folded
away join their table when it is unfolded, sorted or filtered.
"""

from __future__ import annotations

SCRIPT = """
"use strict";
{
const UNITS = {k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15};
const number = (text) => {
  const found = /^~?([-\\u2212]?)([\\d,]*\\.?\\d+)(?:\\s*([kMGTP])?bps)?/.exec(text);
  if (!found) return null;
  const size = Number(found[2].replaceAll(",", "")) * (UNITS[found[3]] || 1);
  return found[1] ? -size : size;
};
const shown = (row, place) => (row.cells[place] ? row.cells[place].textContent.trim() : "");
const words = new Intl.Collator(undefined, {numeric: true, sensitivity: "base"});

const sorted = (rows, place, numeric, down) => {
  const keyed = rows.map((row) => {
    const text = shown(row, place);
    return {row, key: numeric ? number(text) : text || null};
  });
  const known = keyed.filter((one) => one.key !== null);
  const empty = keyed.filter((one) => one.key === null);
  known.sort((a, b) => (numeric ? a.key - b.key : words.compare(a.key, b.key)) * (down ? -1 : 1));
  return [...known, ...empty].map((one) => one.row);
};

for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  if (!body || table.closest("details.rest")) continue;
  const next = (table.closest(".scroll") || table).nextElementSibling;
  const fold = next && next.matches("details.rest") ? next : null;
  const rest = fold ? [...fold.querySelector("tbody").rows] : [];
  const rows = [...body.rows, ...rest];
  const unfold = () => {
    if (!fold || !fold.isConnected) return;
    body.append(...rest);
    fold.remove();
  };
  if (fold) fold.addEventListener("toggle", () => {
    unfold();
    rest[0].tabIndex = -1;
    rest[0].focus();
  });
  if (!table.tHead || rows.length < 3) continue;
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, place) => {
    const numeric = head.classList.contains("n");
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      unfold();
      const before = head.getAttribute("aria-sort");
      const first = numeric ? "descending" : "ascending";
      const second = numeric ? "ascending" : "descending";
      const order = before === null ? first : before === first ? second : null;
      for (const other of heads) other.removeAttribute("aria-sort");
      if (order) head.setAttribute("aria-sort", order);
      body.append(...(order ? sorted(rows, place, numeric, order === "descending") : rows));
    });
  });
  const box = document.createElement("input");
  box.type = "search";
  box.placeholder = "filter rows";
  box.setAttribute("aria-label", "filter the rows of the table below");
  const count = document.createElement("span");
  count.className = "soft";
  count.setAttribute("role", "status");
  box.addEventListener("input", () => {
    unfold();
    const asked = box.value.toLowerCase().split(/\\s+/).filter(Boolean);
    let left = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !asked.every((word) => text.includes(word));
      if (!row.hidden) left += 1;
    }
    count.textContent = asked.length ? ` ${left} of ${rows.length} rows` : "";
  });
  const line = document.createElement("div");
  line.className = "filter";
  line.append(box, count);
  (table.closest(".scroll") || table).before(line);
}
}
"""
