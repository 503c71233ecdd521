"use strict";
// The page is whole without this: it adds sorting and searching of tables, and playing two videos at once.

for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const headings = [...table.tHead.rows[0].cells];
  const key = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent;
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent;
    heading.replaceChildren(button);
    button.addEventListener("click", () => {
      const first = heading.classList.contains("number") ? "descending" : "ascending";
      const other = first === "descending" ? "ascending" : "descending";
      const order = heading.getAttribute("aria-sort") === first ? other : first;
      headings.forEach((each) => each.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", order);
      const compare = new Intl.Collator("en", { numeric: true }).compare;
      const rows = [...body.rows].sort((a, b) =>
        heading.classList.contains("number") ? key(a, column) - key(b, column) : compare(key(a, column), key(b, column)));
      body.append(...(order === "descending" ? rows.reverse() : rows));
    });
  });
  if (body.rows.length > 10) {
    const search = document.createElement("input");
    search.type = "search";
    search.className = "search";
    search.placeholder = "Search tasks";
    search.setAttribute("aria-label", "Search tasks");
    search.addEventListener("input", () => {
      for (const row of body.rows) {
        row.hidden = !row.cells[0].textContent.toLowerCase().includes(search.value.trim().toLowerCase());
      }
    });
    table.parentElement.before(search);
  }
}

for (const pair of document.querySelectorAll(".pair")) {
  const videos = [...pair.querySelectorAll("video")];
  const button = document.createElement("button");
  button.type = "button";
  button.className = "play";
  const playing = () => videos.some((video) => !video.paused);
  const label = () => { button.textContent = playing() ? "Pause both" : "Play both"; };
  button.addEventListener("click", () => {
    if (playing()) {
      videos.forEach((video) => video.pause());
    } else {
      for (const video of videos) {
        video.currentTime = 0;
        video.play().catch(() => {});
      }
    }
  });
  for (const video of videos) {
    video.controls = false; // they hide half of a small picture
    video.addEventListener("click", () => button.click());
    video.addEventListener("play", label);
    video.addEventListener("pause", label);
  }
  label();
  pair.append(button);
}
