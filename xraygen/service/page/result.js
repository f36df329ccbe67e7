// What was found: regions next to the report, each of which points at the other.

const SUPPORT = { verbatim: "good", reworded: "warn", unsupported: "bad" };
const SUPPORT_MEANS = {
  verbatim: "The report says it in these words.",
  reworded: "The report says it in other words.",
  unsupported: "No sentence of the report says it.",
};

// `annotation`: of the answer, without an error. `report`: what was sent.
function showResult(annotation, report) {
  const regions = Object.entries(annotation.regions);
  byId("summary").replaceChildren(...summary(annotation, regions));
  byId("source-text").replaceChildren(...sourceParts(report, regions));
  byId("source").hidden = report === "";
  byId("answer").classList.toggle("alone", report === "");
  byId("findings").replaceChildren(...regions.map(findingItem));
  byId("copied").textContent = "";
  byId("json").textContent = JSON.stringify(annotation, null, 2);
  pointed.hover = pointed.focus = null;
  byId("result").hidden = false;
}

const NO_THRESHOLD = "There is no review threshold: check every region. ";

function summary({ approach, model }, regions) {
  const findings = regions.map(([, finding]) => finding);
  const review = findings.filter((one) => one.review).length;
  const said = findings.filter((one) => one.text !== "").length;
  return [
    `${said} of ${findings.length} regions have text`,
    review > 0 ? `, ${review} to review. ` : ". ",
    findings.every((one) => one.review === null) && NO_THRESHOLD,
    element("small", {}, `By ${approach}, model ${model.replace(/^.*:/, "").slice(0, 10)}.`),
  ].filter(Boolean);
}

// The report in parts that differ in the regions they are a source of. Spans count characters as
// Python does; JavaScript's strings count UTF-16 units, of which some characters have two.
function sourceParts(report, regions) {
  const characters = Array.from(report);
  const spans = regions.flatMap(([region, one]) => one.spans.map((span) => [region, ...span]));
  const ends = spans.flatMap(([, start, end]) => [start, end]);
  const cuts = [...new Set([0, ...ends, characters.length])].sort((a, b) => a - b);
  return cuts.slice(1).map((end, number) => {
    const start = cuts[number];
    const text = characters.slice(start, end).join("");
    const about = spans.filter(([, from, to]) => from < end && start < to).map(([one]) => one);
    return about.length > 0 ? sourcePart(text, [...new Set(about)]) : text;
  });
}

function sourcePart(text, about) {
  const part = element(
    "span",
    { class: "source", role: "button", tabindex: "0", "aria-description": about.join(", ") },
    text,
  );
  part.regions = about;
  const go = () => findingOf(about[0]).focus();
  part.addEventListener("click", go);
  part.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    go();
  });
  return points(part);
}

const findingOf = (region) =>
  Array.from(document.querySelectorAll(".finding")).find((one) => one.regions.includes(region));

function findingItem([region, finding], number) {
  const title = element("h3", { id: `finding-${number}` }, region);
  const item = element(
    "div",
    { class: finding.review ? "finding review" : "finding", "data-region": region },
    element("div", { class: "row" }, title, element("div", { class: "row" }, facts(finding))),
    finding.text
      ? element("p", { class: "text" }, finding.text)
      : element("p", { class: "muted" }, "nothing said"),
  );
  item.regions = [region];
  if (finding.spans.length > 0) {
    item.setAttribute("tabindex", "0");
    item.setAttribute("role", "group");
    item.setAttribute("aria-labelledby", title.id);
    item.setAttribute("aria-description", "its source in the report is marked");
    points(item);
  }
  return element("li", {}, item);
}

function facts({ support, confidence, review }) {
  return [
    review && element("span", { class: "chip bad" }, "⚑ review"),
    support &&
      element("span", { class: `chip ${SUPPORT[support]}`, title: SUPPORT_MEANS[support] }, support),
    confidence !== null && confidenceBar(confidence),
  ];
}

function confidenceBar(confidence) {
  const level = element("span", {});
  level.style.width = `${100 * confidence}%`; // of a style sheet the policy would not allow it
  return element(
    "span",
    { class: "confidence" },
    element("span", { class: "bar", "aria-hidden": "true" }, level),
    `confidence ${confidence.toFixed(2)}`,
  );
}

// The element that the pointer is over, and the one that has the focus: the former counts.
const pointed = { hover: null, focus: null };

function points(node) {
  const set = (how, value) => () => {
    pointed[how] = value;
    showPointed();
  };
  node.addEventListener("mouseenter", set("hover", node));
  node.addEventListener("mouseleave", set("hover", null));
  node.addEventListener("focus", set("focus", node));
  node.addEventListener("blur", set("focus", null));
  return node;
}

function showPointed() {
  const active = (pointed.hover ?? pointed.focus)?.regions ?? [];
  for (const one of document.querySelectorAll("#result :is(.source, .finding)")) {
    one.classList.toggle("active", one.regions.some((region) => active.includes(region)));
  }
  const box = byId("source");
  const first = document.querySelector(".source.active");
  if (first && box.scrollHeight > box.clientHeight) {
    box.scrollTop = first.offsetTop - box.clientHeight / 3;
  }
}

async function copyJson() {
  const text = byId("json").textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without HTTPS there is no clipboard for scripts, but for selections.
    getSelection().selectAllChildren(byId("json"));
    document.execCommand("copy");
  }
  byId("copied").textContent = "Copied.";
}
