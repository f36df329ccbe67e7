// The page of `xraygen review`: one card for each text, and the keys that decide on it.

const data = JSON.parse(byId("data").textContent);
const items = data.studies.flatMap((study, number) =>
  study.regions.map((region) => ({ id: study.id, study: number, ...region })));
const storage = keptStorage();
const cards = [];
let decisions = null; // once the reader has given a name
let current = -1; // index of the text that keys are about
let marked = -1; // index of the text whose sources were marked last
let pointer = []; // where the mouse was last

// Session storage outlives a reload of the tab, local storage the tab.
const LAST_READER = `${data.format} reader`;
const remembered = {
  get: (where) => { try { return where()?.getItem(LAST_READER) ?? ""; } catch { return ""; } },
  set: (where, name) => { try { where()?.setItem(LAST_READER, name); } catch { /* asked again */ } },
};

function studyOf(study, number) {
  const source = sourceOf(study);
  const report = source.querySelector(".report");
  const here = items.flatMap((item, index) => (item.study === number ? [index] : []));
  return element("section", { class: "study", "aria-labelledby": `study-${number}` },
    element("h2", { id: `study-${number}` }, `Study ${number + 1} of ${data.studies.length}: ${study.id}`),
    element("div", { class: "columns" },
      source,
      element("div", {}, here.map((index) => cardOf(index, report)))));
}

// Whether the mouse moved, and not the page below it.
function isMoved({ clientX, clientY }) {
  const [x, y] = pointer;
  pointer = [clientX, clientY];
  return clientX !== x || clientY !== y;
}

function cardOf(index, report) {
  const item = items[index];
  const mark = () => {
    if (marked === index) return;
    marked = index;
    report.replaceChildren(...markedText(data.studies[item.study].report, item.spans));
    const first = report.querySelector("mark");
    if (first) report.scrollTop = first.offsetTop - report.clientHeight / 3;
  };
  const clear = () => {
    marked = -1;
    report.replaceChildren(data.studies[item.study].report);
  };
  const point = (event) => { if (isMoved(event)) mark(); };
  const leave = () => {
    const isFocused = cards[current]?.node.contains(document.activeElement);
    if (isFocused && items[current].study === item.study) cards[current].mark();
    else clear();
  };
  const button = (decision, name, action) =>
    element("button", { type: "button", "data-decision": decision, "aria-pressed": "false", onclick: action }, name);
  const edited = element("textarea", { rows: 3, oninput: () => edit(index) });
  const comment = element("input", { type: "text", oninput: () => decisions.comment(index, comment.value) });
  const editor = element("label", { class: "field no-print" }, "Corrected text; leave it empty if there is nothing to say", edited);
  const undo = element("button", { type: "button", onclick: () => decide(index, null) }, "Undo");
  const outcome = element("p", { class: "outcome visually-hidden" });
  const node = element("article", {
    class: "region box", tabindex: -1, "aria-labelledby": `item-${index}`,
    onfocusin: () => { current = index; mark(); }, onfocusout: clear,
    onmousemove: point, onmouseleave: leave,
  },
    element("h3", { id: `item-${index}` }, item.region),
    element("p", { class: item.text ? null : "muted" }, item.text || "Says nothing of this region."),
    element("div", { class: "decide no-print" },
      button("accepted", "Accept", () => decide(index, "accepted")),
      button("edited", "Edit", () => openEditor(index)),
      button("rejected", "Reject", () => decide(index, "rejected")),
      undo),
    editor,
    element("label", { class: "field no-print" }, "Comment (optional)", comment),
    outcome);
  cards[index] = { node, mark, edited, editor, comment, undo, outcome, isOpen: false, draft: null };
  return node;
}

// Show what is decided on a text. What somebody is typing stays as it is.
function refresh(index) {
  const { decision, text, comment } = decisions.of(index);
  const card = cards[index];
  card.node.classList.remove(...DECISIONS);
  if (decision) card.node.classList.add(decision);
  for (const button of card.node.querySelectorAll("[data-decision]")) {
    button.setAttribute("aria-pressed", String(button.dataset.decision === decision));
  }
  card.undo.hidden = !decision;
  card.editor.hidden = !(card.isOpen || decision === "edited");
  if (card.edited !== document.activeElement) card.edited.value = decision === "edited" ? text : items[index].text;
  if (card.comment !== document.activeElement) card.comment.value = comment;
  const outcome = decision === "edited" ? `edited: ${text || "nothing to say"}` : decision ?? "not decided";
  card.outcome.textContent = `Decision: ${outcome}${comment && `; comment: ${comment}`}`;
  progress();
}

function progress() {
  const done = decisions.count();
  byId("progress").max = items.length;
  byId("progress").value = done;
  byId("count").textContent = `${done} of ${items.length} done`;
}

// An edit is kept as a draft, and accepting does not undo it.
function decide(index, decision) {
  const { decision: former, text } = decisions.of(index);
  if (former === "edited") {
    if (decision === "accepted") {
      say(`${items[index].region}: your edit stays. Undo it first to accept what was shown.`);
      return;
    }
    cards[index].draft = text;
  }
  cards[index].isOpen = false;
  decisions.decide(index, decision);
  refresh(index);
  say(`${items[index].region}: ${decision ?? "not decided"}. ${byId("count").textContent}.`);
}

function openEditor(index) {
  const { draft } = cards[index];
  const isEdited = decisions.of(index).decision === "edited";
  if (draft !== null && !isEdited) decisions.decide(index, "edited", draft);
  cards[index].isOpen = true;
  refresh(index);
  cards[index].edited.focus();
  cards[index].edited.scrollIntoView({ block: "nearest" });
}

const oneLine = (text) => text.trim().replace(/\s+/gu, " ");

// A text that is as it was shown is no edit.
function edit(index) {
  const text = oneLine(cards[index].edited.value);
  const isNew = text !== oneLine(items[index].text);
  cards[index].isOpen = true;
  cards[index].draft = null;
  decisions.decide(index, isNew ? "edited" : null, isNew ? text : null);
  refresh(index);
}

// With the filter on, decided texts are hidden, and studies of which all are; the current one stays.
function filter() {
  const wanted = (index) => !byId("todo").checked || !decisions.of(index).decision || index === current;
  cards.forEach((card, index) => { card.node.hidden = !wanted(index); });
  for (const section of document.querySelectorAll(".study")) {
    section.hidden = !section.querySelector(".region:not([hidden])");
  }
}

function go(index) {
  if (index < 0 || index >= items.length) {
    const end = decisions.count() === items.length
      ? `All ${items.length} done: press Export and send the file.` : "There are no more texts.";
    say(index < 0 ? "This is the first text." : end);
    return;
  }
  current = index;
  filter();
  const { node } = cards[index];
  node.focus({ preventScroll: true });
  // With another study its report comes into sight, and the text always. Two smooth movements would
  // not add up.
  const isSame = items[index - 1]?.study === items[index].study;
  if (!isSame) node.closest(".study").scrollIntoView({ behavior: "instant" });
  node.scrollIntoView({ block: "nearest", behavior: isSame ? "auto" : "instant" });
}

function goToFirstOpen() {
  go(Math.max(0, items.findIndex((_, index) => !decisions.of(index).decision)));
}

// The next text in a direction (1 or -1) that the filter lets through, of another study if wanted.
function next(step, otherStudy = false) {
  const from = items[current]?.study;
  let index = current + step;
  const passed = () => byId("todo").checked && decisions.of(index).decision;
  while (items[index] && (passed() || (otherStudy && items[index].study === from))) index += step;
  // Backwards to the first text of that study.
  while (otherStudy && step < 0 && items[index - 1]?.study === items[index]?.study && items[index]) index -= 1;
  go(index);
}

function save() {
  const name = decisions.reader.replace(/[^\p{L}\p{N}]+/gu, "-");
  download(decisions, `review-${data.sample.slice(0, 8)}-${name}.jsonl`);
  const left = items.filter((_, index) => !decisions.of(index).decision && decisions.of(index).comment).length;
  const without = left ? ` Comments without a decision are not in it: ${left}.` : "";
  say(`Exported: ${byId("count").textContent}.${without}`);
}

const KEYS = {
  j: () => next(1),
  k: () => next(-1),
  n: () => next(1, true),
  p: () => next(-1, true),
  a: () => { decide(current, "accepted"); next(1); },
  e: () => openEditor(current),
  r: () => decide(current, "rejected"),
  u: () => decide(current, null),
  c: () => cards[current].comment.focus(),
  "?": () => byId("keys").showModal(),
};

function pressed(event) {
  if (!decisions) return;
  if (event.key === "Escape" && event.target.matches("textarea, .region input")) {
    cards[current].node.focus();
    return;
  }
  const action = Object.hasOwn(KEYS, event.key) && KEYS[event.key];
  if (!action || !isShortcut(event) || !byId("shortcuts").checked) return;
  if ("aeruc".includes(event.key) && current < 0) current = 0;
  event.preventDefault();
  action();
}

function start(reader) {
  const lost = () => { byId("warning").hidden = false; };
  decisions = new Decisions(data, items, reader, storage, lost);
  remembered.set(() => sessionStorage, reader);
  remembered.set(() => storage, reader);
  byId("name").textContent = reader;
  byId("start").hidden = true;
  byId("bar").hidden = false;
  byId("studies").hidden = false;
  items.forEach((_, index) => refresh(index));
  goToFirstOpen();
}

byId("studies").append(...data.studies.map(studyOf));
byId("warning").hidden = Boolean(storage);
byId("start").addEventListener("submit", (event) => {
  event.preventDefault();
  const reader = byId("reader").value.trim();
  if (reader) start(reader);
});
byId("todo").addEventListener("change", filter);
byId("export").addEventListener("click", save);
prepareImport(async (file) => {
  if (await bringIn(decisions, file, refresh)) goToFirstOpen();
});
byId("help").addEventListener("click", KEYS["?"]);
byId("change").addEventListener("click", () => {
  remembered.set(() => sessionStorage, "");
  location.reload();
});
document.addEventListener("keydown", pressed);
addEventListener("storage", (event) => {
  const index = decisions ? decisions.changedElsewhere(event) : -1;
  if (index < 0) return;
  refresh(index);
  say(`${items[index].region} was decided in another window of this page.`);
});
addEventListener("beforeunload", (event) => {
  if (decisions && !decisions.isExported()) event.preventDefault();
});

const before = remembered.get(() => sessionStorage);
if (before) start(before);
else byId("reader").value = remembered.get(() => storage);
