(() => {
  "use strict";
  const root = document.documentElement;
  root.classList.add("js");

  // A page from a file may have no storage; then the choice lasts as long as the page.
  const stored = (value) => {
    try {
      if (value) localStorage.setItem("egress-tls-theme", value);
      return localStorage.getItem("egress-tls-theme");
    } catch {
      return null;
    }
  };
  if (stored()) root.dataset.theme = stored();

  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  const themes = () => {
    const button = document.getElementById("theme");
    const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    const label = () => { button.textContent = dark() ? "Light" : "Dark"; };
    button.addEventListener("click", () => {
      root.dataset.theme = dark() ? "light" : "dark";
      stored(root.dataset.theme);
      label();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", label);
    label();
  };

  const sorting = (table) => {
    const heads = all("thead th", table);
    const collator = new Intl.Collator("en", { numeric: true });
    heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const keyed = [...table.tBodies].map((body) => {
        const cell = body.rows[0].cells[column];
        return { body, key: cell.dataset.sort ?? cell.textContent.trim() };
      });
      keyed.sort((a, b) => (down ? -1 : 1) * collator.compare(a.key, b.key));
      const sorted = document.createDocumentFragment();
      keyed.forEach(({ body }) => sorted.append(body));
      table.append(sorted);
    }));
  };

  const open = (body, opened) => {
    body.classList.toggle("opened", opened);
    body.querySelector(".expand").setAttribute("aria-expanded", opened);
  };

  const details = () => {
    const bodies = all(".hosts tbody").filter((body) => body.querySelector(".expand"));
    const button = document.getElementById("all");
    bodies.forEach((body) => body.rows[0].addEventListener("click", (event) => {
      if (event.target.closest("a") || String(getSelection())) return;
      open(body, !body.classList.contains("opened"));
    }));
    button?.addEventListener("click", () => {
      const opened = button.textContent === "All details";
      button.textContent = opened ? "No details" : "All details";
      bodies.forEach((body) => open(body, opened));
    });
  };

  const filters = () => {
    const search = document.getElementById("search");
    const namespace = document.getElementById("namespace");
    const severity = document.getElementById("severity");
    const sections = all("section[data-rows]").filter((section) => section.querySelector("table")).map((section) => ({
      bodies: all("tbody", section).map((body) => ({ body })),
      shown: section.querySelector("[role=status]"),
    }));
    const text = (row) => row.text ??= row.body.textContent.toLowerCase();
    const apply = () => {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      const severities = severity.value.split(" ").filter(Boolean);
      const active = words.length || severities.length || namespace.value;
      for (const { bodies, shown } of sections) {
        let count = 0;
        for (const row of bodies) {
          const { dataset } = row.body;
          const match = (!severities.length || severities.includes(dataset.severity)) &&
            (!namespace.value || dataset.namespaces.split(" ").includes(namespace.value)) &&
            words.every((word) => text(row).includes(word));
          row.body.hidden = !match;
          if (match) count++;
        }
        shown.textContent = active ? `${count} of ${bodies.length} shown` : shown.dataset.all;
      }
    };
    [search, namespace, severity].forEach((control) => control.addEventListener("input", apply));
    document.addEventListener("keydown", (event) => {
      if (event.key === "/" && !/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) {
        event.preventDefault();
        search.focus();
      }
    });
    return () => {
      search.value = namespace.value = severity.value = "";
      apply();
    };
  };

  document.addEventListener("DOMContentLoaded", () => {
    themes();
    all("table").forEach(sorting);
    details();
    const clear = filters();
    // A link to a host shows it, whatever is filtered.
    const follow = () => {
      const target = document.querySelector("tbody:target");
      if (!target) return;
      if (target.hidden) clear();
      if (target.querySelector(".expand")) open(target, true);
      target.scrollIntoView();
    };
    addEventListener("hashchange", follow);
    addEventListener("load", follow); // Until then there is no :target.
  });
})();
