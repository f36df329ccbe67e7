// The page of `xraygen adjudicate --page`: one card for each region on which readers differ.

const data = JSON.parse(byId("data").textContent);
const { items } = data;
const ids = [...new Set(items.map((item) => item.id))];
const cards = [];
let settlements = null; // once the adjudicator has given a name
let current = 0; // index of the region that keys are about

// The decisions of an adjudicator: {decision: "chosen", "written", "excluded" or null, text,
// comment}. What an earlier export had is where they start.
class Settlements extends Decisions {
  constructor(reader, storage, lost) {
    super(data, items, reader, storage, lost);
    this.made = this.made.map((made, index) => made ?? items[index].settled);
  }

  // Another page of the same sample may have other texts.
  key(...parts) {
    return JSON.stringify([data.format, data.key, this.reader, ...parts]);
  }

  records() {
    return items.flatMap(({ id, region }, index) => {
      const { decision, text, comment } = this.of(index);
      return decision ? [{ id, region, decision, text, comment }] : [];
    });
  }

  itemOf({ id, region, decision, text, comment }) {
    const index = items.findIndex((item) => item.id === id && item.region === region);
    if (index < 0) throw new Error(`${region} of ${id} is not on this page.`);
    const known = ["chosen", "written", "excluded"].includes(decision);
    const fits = decision === "excluded" ? text === null : typeof text === "string";
    if (!known || !fits || typeof comment !== "string") return null;
    const isGiven = items[index].texts.some((one) => one.text === text);
    const made = decision === "chosen" && !isGiven ? "written" : decision;
    return [index, { decision: made, text, comment }];
  }
}

const readers = (count) => (count === 1 ? "1 reader" : `${count} readers`);
const whatWasShown = ({ text }) =>
  (text ? `what was shown, and gave no other text: “${text}”` : "the empty answer, and gave no text.");

function studyOf(id, number) {
  const study = data.studies[id];
  const here = items.flatMap((item, index) => (item.id === id ? [index] : []));
  const source = study
    ? sourceOf(study)
    : element("p", { class: "source muted" }, "data/prepared does not have the report of this study.");
  return element("section", { class: "study", "aria-labelledby": `study-${number}` },
    element("h2", { id: `study-${number}` }, `Study ${number + 1} of ${ids.length}: ${id}`),
    element("div", { class: "columns" },
      source,
      element("div", {}, here.map(cardOf))));
}

// A text in which the words are marked that the other one does not have.
function marked(text, other) {
  if (!text) return [element("span", { class: "muted" }, "Nothing to say.")];
  if (other === undefined) return [text];
  return wordRuns(other, text)
    .filter(([, kind]) => kind !== "missing")
    .map(([run, kind]) => (kind === "added" ? element("ins", { class: "added" }, run) : run));
}

function cardOf(index) {
  const { region, texts, rejected, comments } = items[index];
  const radio = (value, ondo) =>
    element("input", { type: "radio", name: `item-${index}`, value, onchange: ondo });
  const options = texts.map(({ text, readers: count }, number) =>
    element("label", { class: "option" },
      radio(String(number), () => choose(index, number)),
      element("span", {},
        element("small", {}, `Text ${number + 1} (${readers(count)})`),
        marked(text, texts[number ? 0 : 1]?.text))));
  const written = element("textarea", { rows: 3, oninput: () => write(index) });
  const comment = element("input", { type: "text", oninput: () => settlements.comment(index, comment.value) });
  const undo = element("button", { type: "button", onclick: () => settle(index, null) }, "Undo");
  const editor = element("div", { class: "no-print" },
    element("label", { class: "field" }, "Your text; leave it empty if there is nothing to say", written),
    element("button", { type: "button", onclick: () => write(index) }, "Use this text"));
  const node = element("article", {
    class: "region box", tabindex: -1, "aria-labelledby": `item-${index}`,
    onfocusin: () => { current = index; },
  },
    element("h3", { id: `item-${index}` }, region),
    rejected && element("p", {}, `${readers(rejected.readers)} rejected ${whatWasShown(rejected)}`),
    comments.map((said) => element("p", { class: "muted" }, `A reader's comment: ${said}`)),
    element("fieldset", {},
      element("legend", {}, "Which text is right?"),
      element("div", { class: "options" }, options),
      element("label", {}, radio("written", () => openEditor(index)), "Another text"),
      editor,
      element("label", {}, radio("excluded", () => settle(index, "excluded")), "Leave this region out of the references")),
    element("label", { class: "field no-print" }, "Comment (optional)", comment),
    undo);
  cards[index] = { node, written, editor, comment, undo, isOpen: false, draft: null };
  return node;
}

// Show what is decided on a region. What somebody is typing stays as it is.
function refresh(index) {
  const { decision, text, comment } = settlements.of(index);
  const { node, written, editor, undo, isOpen, comment: field } = cards[index];
  node.classList.remove("chosen", "written", "excluded");
  if (decision) node.classList.add(decision);
  const value = decision === "chosen"
    ? String(items[index].texts.findIndex((one) => one.text === text))
    : decision ?? (isOpen ? "written" : null);
  for (const radio of node.querySelectorAll("input[type='radio']")) radio.checked = radio.value === value;
  editor.hidden = value !== "written";
  if (decision === "written" && written !== document.activeElement) written.value = text;
  if (field !== document.activeElement) field.value = comment;
  undo.hidden = !value;
  const done = settlements.count();
  byId("progress").max = items.length;
  byId("progress").value = done;
  byId("count").textContent = `${done} of ${items.length} settled`;
}

function settle(index, decision, text = null) {
  const former = settlements.of(index);
  if (former.decision === "written" && decision !== "written") cards[index].draft = former.text;
  cards[index].isOpen = false;
  settlements.decide(index, decision, text);
  refresh(index);
  say(`${items[index].region}: ${decision ?? "not settled"}. ${byId("count").textContent}.`);
}

// Show a settlement that comes from a file.
function take(index) {
  cards[index].isOpen = false;
  refresh(index);
}

function choose(index, number) {
  settle(index, "chosen", items[index].texts[number].text);
}

// The editor starts with what was written before, the text that was chosen, or the one of most
// readers. It settles nothing until that is edited or confirmed: it may be the rejected text.
function openEditor(index) {
  const card = cards[index];
  const { decision, text } = settlements.of(index);
  if (decision !== "written" && !card.isOpen) {
    const { texts, rejected } = items[index];
    card.written.value = card.draft ?? text ?? texts[0]?.text ?? rejected.text;
    settle(index, null);
    card.isOpen = true;
    refresh(index);
  }
  card.written.focus();
  card.written.scrollIntoView({ block: "nearest" });
}

function write(index) {
  settle(index, "written", cards[index].written.value.trim().replace(/\s+/gu, " "));
}

function go(index) {
  if (index < 0 || index >= items.length) {
    say(index < 0 ? "This is the first region." : atEnd());
    return;
  }
  current = index;
  cards[index].node.focus({ preventScroll: true });
  cards[index].node.scrollIntoView({ block: "nearest" });
}

function nextUnsettled() {
  const isOpen = (_, index) => !settlements.of(index).decision;
  const later = items.findIndex((item, index) => index > current && isOpen(item, index));
  const next = later < 0 ? items.findIndex(isOpen) : later;
  if (next < 0) say(atEnd());
  else go(next);
}

function atEnd() {
  return settlements.count() === items.length
    ? `All ${items.length} settled: press Export.` : "There are no more regions.";
}

function save() {
  download(settlements, `settled-${data.key.slice(0, 8)}.jsonl`);
  say(`${settlements.count()} decisions exported.`);
}

const KEYS = {
  j: () => go(current + 1),
  k: () => go(current - 1),
  n: nextUnsettled,
  w: () => openEditor(current),
  x: () => settle(current, "excluded"),
  u: () => settle(current, null),
  "?": () => byId("keys").showModal(),
};

function pressed(event) {
  if (!settlements) return;
  if (event.key === "Escape" && event.target.matches("textarea, .region input")) {
    cards[current].node.focus();
    return;
  }
  if (!isShortcut(event) || !byId("shortcuts").checked) return;
  const number = Number(event.key) - 1;
  if (Object.hasOwn(KEYS, event.key)) {
    event.preventDefault();
    KEYS[event.key]();
  } else if (items[current].texts[number]) {
    choose(current, number);
    go(current + 1);
  }
}

function start(event) {
  event.preventDefault();
  const reader = byId("reader").value.trim();
  if (!reader) return;
  const storage = keptStorage();
  const lost = () => { byId("warning").hidden = false; };
  if (!storage) lost();
  settlements = new Settlements(reader, storage, lost);
  byId("start").hidden = true;
  byId("bar").hidden = false;
  byId("studies").hidden = false;
  items.forEach((_, index) => refresh(index));
  go(Math.max(0, items.findIndex((_, index) => !settlements.of(index).decision)));
}

if (items.length) {
  byId("studies").append(...ids.map(studyOf));
  byId("reader").value = data.reader;
  byId("start").addEventListener("submit", start);
  byId("export").addEventListener("click", save);
  prepareImport((file) => bringIn(settlements, file, take));
  byId("help").addEventListener("click", KEYS["?"]);
  document.addEventListener("keydown", pressed);
  addEventListener("storage", (event) => {
    const index = settlements ? settlements.changedElsewhere(event) : -1;
    if (index >= 0) refresh(index);
  });
  addEventListener("beforeunload", (event) => {
    if (settlements && !settlements.isExported()) event.preventDefault();
  });
}
