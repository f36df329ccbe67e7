// One study: its pictures, its report, and by region the reference next to each answer.

let searched = ""; // what is marked in the texts

function showStudy(index, study, row, view) {
  searched = view.text;
  byId("study").dataset.id = study.id;
  byId("study-title").textContent = study.id;
  byId("study-flags").replaceChildren(...studyFlags(index, row));
  byId("pictures").replaceChildren(...pictureButtons(study));
  const table = answersTable(index, study, row, view);
  const box = element(
    "div",
    { class: "scroll", role: "region", "aria-labelledby": "answers-title" },
    table,
  );
  byId("answers").replaceChildren(box, ...regionsToggle(table));
  showReport(study.report, []); // after the former answers, which might still lose the focus
  fits.disconnect();
  fits.observe(box);
}

function studyFlags(index, row) {
  const abnormal = row.abnormal.map((number) => index.scored[number]).join(", ");
  const chips = [];
  if (abnormal) chips.push(element("span", { class: "chip warn" }, `abnormal: ${abnormal}`));
  chips.push(
    element("span", { class: "chip" }, row.novel ? "novel report" : "report also in train"),
  );
  return chips;
}

// A table that is wider than its box scrolls there, so the box takes the focus. One that fits does
// not need that, and then its head can stay in sight while the page scrolls.
const fits = new ResizeObserver(([{ target }]) => {
  const fit = target.firstElementChild.offsetWidth <= target.clientWidth + 1;
  target.classList.toggle("fits", fit);
  if (fit) target.removeAttribute("tabindex");
  else target.setAttribute("tabindex", "0");
});

// The head of the table stays in sight below the source, which does too.
new ResizeObserver(measureSource).observe(byId("source"));

function measureSource() {
  byId("answers").style.setProperty("--source-height", `${byId("source").offsetHeight}px`);
}

// To the first answer that the filters match, or else that is asked for, with its reference.
function scrollToAnswer() {
  const cell =
    byId("answers").querySelector("td.found") ?? byId("answers").querySelector(".answer");
  if (!cell) return;
  measureSource();
  scrollDown(cell);
  scrollAcross(cell.closest("td"));
}

// As cards, an answer may be far below the head of its row.
function scrollDown(cell) {
  const row = cell.closest("tr");
  const covered = Number.parseFloat(getComputedStyle(row).scrollMarginTop);
  const { bottom } = cell.getBoundingClientRect();
  const { top } = row.getBoundingClientRect();
  if (top >= covered && bottom <= innerHeight) return;
  const target = bottom - top <= innerHeight - covered ? row : cell;
  target.scrollIntoView({ block: "start", inline: "nearest", behavior: "instant" });
}

function scrollAcross(cell) {
  const box = cell.closest(".scroll");
  const reference = cell.parentElement.querySelector(".reference");
  const isPinned = getComputedStyle(reference).position === "sticky";
  const { left, right } = box.getBoundingClientRect();
  const beyond = cell.getBoundingClientRect().right - right;
  if (beyond > 0) box.scrollLeft += beyond;
  const from = isPinned ? reference.getBoundingClientRect().right : left;
  const before = from - cell.getBoundingClientRect().left;
  if (before > 0) box.scrollLeft -= before;
}

// The report, with parts of it marked: `spans`, as of markedText.
function showReport(report, spans) {
  byId("report").replaceChildren(...markedText(report, spans));
  const mark = byId("report").querySelector("mark");
  const box = byId("report-box");
  markSearched();
  if (mark && box.scrollHeight > box.clientHeight)
    box.scrollTop = mark.offsetTop - box.clientHeight / 3;
}

const MOST_PRINTED = 4; // answers next to each other on paper

// The roles are written out because a table that is laid out as cards is none for screen readers.
function answersTable(index, study, row, view) {
  const heads = [
    "Region",
    "Reference",
    ...view.columns.map((approach) => index.approaches[approach]),
  ];
  const names = heads.map((name) => element("th", { scope: "col", role: "columnheader" }, name));
  const rows = index.regions.map((region, number) => {
    const reference = study.reference[region];
    const cells = view.columns.map((approach) => answerCell(index, study, approach, region, view));
    return element(
      "tr",
      { role: "row", "data-region": region },
      element(
        "th",
        { scope: "row", role: "rowheader" },
        region,
        row.abnormal.includes(index.scored.indexOf(region)) &&
          element("span", { class: "chip warn" }, "abnormal"),
      ),
      element("td", { role: "cell", class: "reference" }, cellName("Reference"), textOf(reference)),
      cells.map((cell, column) => {
        if (view.matched.has(`${view.columns[column]} ${number}`)) cell.classList.add("found");
        return cell;
      }),
    );
  });
  const isOther = (one) => view.region !== "" && one.dataset.region !== view.region;
  const others = rows.filter(isOther);
  const body = (attributes, list) => element("tbody", { role: "rowgroup", ...attributes }, list);
  return element(
    "table",
    {
      role: "table",
      class: view.columns.length > MOST_PRINTED && "many",
      "aria-labelledby": "answers-title",
    },
    element("thead", { role: "rowgroup" }, element("tr", { role: "row" }, names)),
    body(
      {},
      rows.filter((one) => !isOther(one)),
    ),
    others.length > 0 && body({ id: "other-regions", hidden: !othersShown }, others),
  );
}

let othersShown = false; // regions that the filters do not ask for

function regionsToggle(table) {
  const others = table.querySelector("#other-regions");
  if (!others) return [];
  const label = () => `${othersShown ? "Hide" : "Show"} the other ${others.rows.length} regions`;
  const toggle = ({ target }) => {
    othersShown = !othersShown;
    others.hidden = !othersShown;
    target.textContent = label();
    target.setAttribute("aria-expanded", othersShown);
  };
  const state = { "aria-expanded": String(othersShown), "aria-controls": "other-regions" };
  return [
    element(
      "button",
      { type: "button", id: "toggle-regions", class: "no-print", ...state, onclick: toggle },
      label(),
    ),
  ];
}

const cellName = (name) => element("span", { class: "cell-name", "aria-hidden": "true" }, name);

const textOf = (text) =>
  text
    ? element("p", { class: "text" }, text)
    : element("p", { class: "muted" }, text === undefined ? "no reference" : "nothing said");

function answerCell(index, study, approach, region, view) {
  const name = index.approaches[approach];
  const { error, regions } = study.answers[approach];
  const answer = regions[region];
  const cell = element("td", { role: "cell", "data-approach": name }, cellName(name));
  if (error !== null) {
    cell.append(element("p", {}, element("span", { class: "chip bad" }, "failed"), ` ${error}`));
  } else {
    cell.append(answerText(study, name, region, answer, view));
  }
  cell.append(facts(answer, view.findings));
  return cell;
}

// The text; where it has a source, pointing at it, moving the focus to it or tapping it shows that.
function answerText(study, approach, region, answer, view) {
  const text = element("div", { class: "answer" });
  const reference = study.reference[region];
  if (answer.text && view.marks && reference !== undefined)
    text.append(markedWords(reference, answer.text));
  else text.append(answer.text ? answer.text : element("span", { class: "muted" }, "nothing said"));
  if (answer.spans.length === 0) return text;
  const points = Array.from(study.report);
  const sources = answer.spans.map(([start, end]) => `“${points.slice(start, end).join("")}”`);
  text.setAttribute("tabindex", "0");
  text.setAttribute("role", "group");
  text.setAttribute("aria-label", `${approach}, ${region}`);
  text.setAttribute("aria-description", `source in the report: ${sources.join(", ")}`);
  const show = () => showReport(study.report, answer.spans);
  // What has the focus stays marked when the pointer has passed over something else.
  const restore = () => {
    const focused = document.activeElement;
    if (focused !== text && focused?.classList.contains("answer"))
      focused.dispatchEvent(new Event("focus"));
    else if (focused !== text) showReport(study.report, []);
  };
  text.addEventListener("mouseenter", show);
  text.addEventListener("focus", show);
  text.addEventListener("mouseleave", restore);
  text.addEventListener("blur", () => showReport(study.report, []));
  return text;
}

const SUPPORT = { verbatim: "good", reworded: "warn", unsupported: "bad" };

// What is known of an answer, a line each: what the judge says, what it says of the abnormal
// findings, and what the text rests on.
function facts({ judgement, support, confidence }, withFindings) {
  const { clinical, score, verdict } = judgement ?? {};
  const line = (name, ...parts) => parts.some(Boolean) && element("div", { class: name }, parts);
  const scored = (name, value) =>
    element("span", { class: `chip ${quality(value)}` }, `${name} ${twoDigits(value)}`);
  return element(
    "div",
    { class: "facts" },
    judgement &&
      line(
        "judged",
        score !== null && scored("score", score),
        element("span", {}, verdictWords(verdict)),
        withFindings &&
          findings([
            ["good", "✓", "matched", "matched", judgement.matched],
            ["bad", "−", "missed", "missed", judgement.missed],
            ["bad", "+", "false", "false", judgement.false],
          ]),
      ),
    clinical &&
      line(
        "clinical",
        scored("clinical", clinical.score),
        withFindings && abnormalFindings(clinical),
      ),
    line(
      "evidence",
      support && element("span", { class: `chip ${SUPPORT[support]}` }, support),
      confidence !== null && element("span", {}, `confidence ${twoDigits(confidence)}`),
    ),
  );
}

// What costs no clinical score is no error: the judge gives it no clinical significance.
function abnormalFindings({ score, matched, missed, invented }) {
  const [kind, note] = score < 1 ? ["bad", ""] : ["muted", ", not clinically significant:"];
  return findings([
    ["good", "✓", "abnormal-matched", "matched", matched],
    [kind, "−", "abnormal-missed", `missed${note}`, missed],
    [kind, "+", "abnormal-invented", `invented${note}`, invented],
  ]);
}

// Findings by what became of them; null where none are listed.
function findings(groups) {
  const items = groups
    .filter(([, , , , found]) => found.length > 0)
    .map(([kind, sign, name, title, found]) =>
      element(
        "div",
        { class: name },
        element(
          "dt",
          { class: kind },
          element("span", { "aria-hidden": "true" }, `${sign} `),
          title,
        ),
        " ", // where a line may break
        element("dd", {}, found.join("; ")),
      ),
    );
  return items.length > 0 ? element("dl", { class: "findings" }, items) : null;
}

// Marks what was searched, where the browser can (CSS custom highlights need no elements).
function markSearched() {
  if (!globalThis.CSS?.highlights) return;
  const ranges = [];
  const walker = document.createTreeWalker(byId("study-content"), NodeFilter.SHOW_TEXT);
  const parts = searchedParts(searched);
  while (parts.length && walker.nextNode()) {
    const node = walker.currentNode;
    if (!node.parentElement.closest("#report, .reference, .answer")) continue;
    for (const part of parts) ranges.push(...occurrences(node, part));
  }
  CSS.highlights.set("searched", new Highlight(...ranges));
}

function* occurrences(node, part) {
  const text = node.data.toLowerCase();
  if (text.length !== node.data.length) return; // İ becomes two: places would be wrong
  for (let at = text.indexOf(part); at >= 0; at = text.indexOf(part, at + part.length)) {
    const range = new Range();
    range.setStart(node, at);
    range.setEnd(node, at + part.length);
    yield range;
  }
}
