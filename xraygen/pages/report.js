// The report: the overview, or the studies as the address asks for them. Every action changes the
// address, and what is shown follows from that, so that links and the back button work.

let index = null;
let fields = null; // what the address asks for; null in the overview
let found = []; // the studies found, in order
let listed = ""; // what the list was made for
let first = 0; // of the part of the list that is shown
let current = null; // the id of the study that is shown
let filtering = false; // a filter was just changed
let addressProblems = []; // what in the address is not understood
let focusNext = false; // on the search field, once the studies are shown
let turn = 0; // counts changes, so that a late file does not replace what came after it

// Returns whether the address changes by that.
function go(changes, replace = false) {
  const next = address({ ...(fields ?? NOTHING_ASKED), ...changes });
  if (next === location.hash) return false;
  if (replace) location.replace(next);
  else location.hash = next;
  return true;
}

async function follow() {
  const now = ++turn;
  const asked = parseAddress(location.hash);
  byId("overview-section").hidden = asked !== null;
  byId("studies-section").hidden = asked === null;
  markPlace(asked === null);
  document.title = `xraygen: ${asked ? "test studies" : "comparison of approaches"}`;
  if (asked === null) {
    if (fields) showPart(byId(location.hash.slice(1)));
    fields = null;
    return;
  }
  try {
    if (!index) await prepare();
    if (now === turn) await show(understoodHere(asked), now);
  } catch (error) {
    if (now === turn) showProblem(error);
    if (!(error instanceof NotLoaded)) throw error;
  }
}

function markPlace(overview) {
  byId(overview ? "to-overview" : "to-studies").setAttribute("aria-current", "page");
  byId(overview ? "to-studies" : "to-overview").removeAttribute("aria-current");
}

// Of the overview, which was hidden when the browser looked for the part.
function showPart(part) {
  part?.closest("details")?.setAttribute("open", "");
  if (part) part.scrollIntoView();
  else scrollTo(0, 0);
}

function showProblem(error) {
  byId("loading").hidden = true;
  byId("problem").hidden = false;
  byId("problem").textContent =
    error instanceof NotLoaded ? error.message : `The page failed: ${error.message}`;
  if (index) byId("matches").textContent = "Not searched";
}

async function prepare() {
  byId("loading").hidden = false;
  const content = await loadIndex();
  byId("loading").hidden = true;
  if (index) return;
  index = content;
  index.best = bestApproaches(index);
  prepareControls();
  byId("browser").hidden = false;
}

function understoodHere(asked) {
  const known = {
    approach: [...index.approaches, "*"],
    region: index.regions,
    verdict: index.verdicts,
    clinical: Object.keys(CLINICAL),
    sort: Object.keys(SORTS),
    show: index.approaches,
  };
  const { fields, problems } = understood(asked, location.hash, known);
  addressProblems = problems;
  return fields;
}

async function show(asked, now) {
  const before = fields;
  fields = asked;
  byId("problem").hidden = true;
  const columns = columnsShown();
  const criteria = criteriaOf(index, fields, columns);
  if (asksDisagreement(criteria) && criteria.disagreeing.length < 2)
    addressProblems.push("One approach alone does not disagree: show another.");
  setControls(columns);
  const progress = (read, of) => {
    if (now === turn) byId("matches").textContent = `Reading file ${read + 1} of ${of} …`;
  };
  const texts = fields.text.trim() ? await loadTexts(index, progress) : null;
  if (now !== turn) return;
  if (needsDisagreement(criteria)) {
    const values = await loadDisagreement(index, criteria.disagreeing, progress);
    if (now !== turn) return;
    criteria.apart = (row) => values.get(row);
  }
  const wanted = address({ ...fields, study: null, marks: true, findings: true });
  const changed = wanted !== listed;
  if (changed) found = search(index, criteria, texts);
  listed = wanted;
  showMatches();
  const lost = filtering && found.length > 0 && !found.some((one) => one.row.id === fields.study);
  filtering = false;
  if (lost && fields.study !== null) {
    listed = ""; // the list is shown with the address that follows
    go({ study: null }, true);
    return;
  }
  await showAsked(columns, criteria, changed, now);
  if (!before && !fields.study) scrollTo(0, 0);
  if (focusNext) focusSearch();
  focusNext = false;
  if (!fields.study || before?.study === fields.study) return;
  if (criteria.ofPairs || fields.region !== "") scrollToAnswer();
  else if (before) scrollToStudy();
}

const asksDisagreement = ({ disagree, sort }) => disagree !== null || sort === "disagreement";

// The index has that of all approaches.
const needsDisagreement = (criteria) =>
  asksDisagreement(criteria) && criteria.disagreeing.length < index.approaches.length;

// To the top of the study, if that is out of sight.
function scrollToStudy() {
  const { top } = byId("study").getBoundingClientRect();
  if (top < 0 || top > innerHeight / 2) byId("study").scrollIntoView();
}

// Numbers of approaches in the order of the index, after the one that the filters ask for.
function columnsShown() {
  const asked = fields.show
    .map((name) => index.approaches.indexOf(name))
    .filter((number) => number >= 0);
  const named = index.approaches.indexOf(fields.approach);
  const others = [...new Set(asked.length ? asked : index.best)].filter((one) => one !== named);
  others.sort((a, b) => a - b);
  return named >= 0 ? [named, ...others] : others;
}

const isFiltered = () =>
  differ(
    fields,
    NOTHING_ASKED,
    Object.keys(NOTHING_ASKED).filter((name) => !VIEW_ONLY.includes(name)),
  );

function showMatches() {
  const total = index.studies.length.toLocaleString("en");
  const text = isFiltered()
    ? `${found.length.toLocaleString("en")} of ${total} studies`
    : `${total} studies`;
  if (byId("matches").textContent !== text) byId("matches").textContent = text;
  byId("clear").hidden = !isFiltered();
}

// The study that the address names, or else the first one found.
async function showAsked(columns, criteria, changed, now) {
  const number =
    fields.study === null
      ? found[0]?.number
      : index.studies.findIndex((row) => row.id === fields.study);
  const row = index.studies[number];
  const place = found.findIndex((one) => one.number === number);
  const before = first;
  current = row?.id ?? null;
  if (changed) first = 0;
  if (place >= 0) first = place - (place % LIST_SIZE);
  if (changed || first !== before) showList(found, first, fields, criteria, current);
  else markCurrent(current);
  showPosition(place, row);
  if (!row) {
    showNote(
      "No study",
      fields.study === null
        ? whyNone()
        : `There is no study “${fields.study}” among the test studies of this report.`,
    );
    return;
  }
  document.title = `xraygen: ${row.id}`;
  let study;
  try {
    study = await loadStudy(index, number);
  } catch (error) {
    if (!(error instanceof NotLoaded)) throw error;
    if (now === turn) showNote(row.id, error.message);
    return;
  }
  if (now !== turn) return;
  byId("study-note").hidden = true;
  byId("study-content").hidden = false;
  const pairs = criteria.ofPairs ? [...matchingPairs(row, criteria)] : [];
  showMatched(pairs.filter(([approach]) => !columns.includes(approach)));
  const matched = new Set(pairs.map((pair) => pair.join(" ")));
  showStudy(index, study, row, { ...fields, columns, matched });
}

function whyNone() {
  if (fields.min !== null && fields.max !== null && fields.min > fields.max)
    return `No score is from ${fields.min} to ${fields.max}: the first has to be the lower one.`;
  return "No study has all that the filters ask for.";
}

// Why there is no study.
function showNote(title, text) {
  delete byId("study").dataset.id;
  byId("study-title").textContent = title;
  byId("study-flags").replaceChildren();
  byId("study-content").hidden = true;
  byId("study-note").hidden = false;
  byId("study-note").textContent = text;
}

function showPosition(place, row) {
  const of = found.length.toLocaleString("en");
  const text =
    place >= 0
      ? `${(place + 1).toLocaleString("en")} of ${of}`
      : row
        ? "not among those found"
        : "";
  byId("study-position").textContent = text;
  const announced = row && fields.study !== null ? `Study ${row.id}, ${text}` : "";
  if (byId("study-announced").textContent !== announced)
    byId("study-announced").textContent = announced;
  byId("study-previous").disabled = found.length === 0 || place === 0;
  byId("study-next").disabled = found.length === 0 || place === found.length - 1;
}

// Where the filters matched answers of approaches that are not shown, says which.
function showMatched(pairs) {
  const names = [...new Set(pairs.map(([approach]) => index.approaches[approach]))];
  byId("matched").hidden = names.length === 0;
  const add = () => go({ show: [...shownNames(), ...names] });
  byId("matched").replaceChildren(
    `The filters also match answers that are not shown, of ${names.join(", ")}. `,
    element("button", { type: "button", onclick: add }, "Show"),
  );
}

const shownNames = () => columnsShown().map((number) => index.approaches[number]);

// The next or an earlier study of those found.
function step(by, replace = false) {
  if (!fields || !index || found.length === 0) return;
  const place = found.findIndex((one) => one.row.id === current);
  const next = place < 0 ? 0 : place + by;
  if (next < 0 || next >= found.length) return;
  go({ study: found[next].row.id }, replace);
}

addEventListener("hashchange", follow);
prepareFrame();
preparePictures();
follow();
