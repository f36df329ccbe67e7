// What the pages of `xraygen review` and `xraygen adjudicate --page` share.

const VIEWS = { frontal: "Frontal view", lateral: "Lateral view", unknown: "View" };

function say(text) {
  byId("status").textContent = text;
}

function figureOf(picture) {
  const view = VIEWS[picture.projection];
  if (!picture.src) return element("p", { class: "muted" }, `${view}: this picture cannot be read.`);
  const { src, width, height } = picture;
  return element("figure", {},
    element("img", { src, width, height, alt: view, loading: "lazy" }),
    element("figcaption", {}, view));
}

// A report that does not fit its box scrolls there, so it takes the focus.
const fits = new ResizeObserver((changes) => {
  for (const { target } of changes) {
    const scrolls = target.scrollHeight > target.clientHeight;
    for (const [name, value] of [["tabindex", "0"], ["role", "region"], ["aria-label", "Report"]]) {
      if (scrolls) target.setAttribute(name, value);
      else target.removeAttribute(name);
    }
  }
});

// What a reader compares texts with. The report comes first, where it stays in sight.
function sourceOf(study) {
  const report = element("p", { class: "report" }, study.report);
  fits.observe(report);
  return element("div", { class: "source" },
    element("h3", {}, "Report"), report,
    element("div", { class: "pictures" }, study.pictures.map(figureOf)));
}

// Let the browser save the decisions as a file.
function download(decisions, name) {
  const blob = new Blob([decisions.lines()], { type: "application/x-ndjson" });
  const url = URL.createObjectURL(blob);
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
  decisions.markExported();
}

// Take over what such a file has, after asking where that loses other decisions, and tell whether
// that was done. `refresh` is called with the index of each text that it is about.
async function bringIn(decisions, file, refresh) {
  let found;
  try {
    found = decisions.read(await file.text());
  } catch (error) {
    say(`${file.name} cannot be imported. ${error.message}`);
    return false;
  }
  const replaced = found.filter(([index, made]) => decisions.differs(index, made)).length;
  if (replaced && !confirm(`Decisions here that differ from those in the file: ${replaced}. Replace them?`)) {
    say("Nothing is imported.");
    return false;
  }
  found.forEach(([index, made]) => {
    decisions.put(index, made);
    refresh(index);
  });
  say(`Imported; ${byId("count").textContent}.`);
  return true;
}

// Make the button "Import…" call `take` with the file that is chosen.
function prepareImport(take) {
  byId("import").addEventListener("click", () => byId("file").click());
  byId("file").addEventListener("change", async ({ target }) => {
    if (target.files.length) await take(target.files[0]);
    target.value = ""; // so that the same file can be chosen again
  });
}
