// What the user does: entering, sending, cancelling.

// Made up.
const EXAMPLE =
  "Two views. The cardiac silhouette and mediastinum are within normal limits. There is a patchy " +
  "left basilar opacity, which may be atelectasis or early pneumonia. No pneumothorax or pleural " +
  "effusion. No acute bony abnormality. A left chest port is in place.";

let loaded = { approaches: [], limits: {} }; // what GET /v1/approaches tells
let sending = null; // the AbortController of the request in progress
let shown = null; // what the findings shown are of

const entered = () => ({
  approach: byId("approach").value || null,
  report: byId("report").value,
  images: chosen.map(({ file, projection }) => ({ file, projection })),
});

async function annotate() {
  sending?.abort();
  const mine = new AbortController();
  sending = mine;
  const what = entered();
  showProblem(null);
  setBusy(true);
  try {
    checkEntered(what);
    const { signal } = mine;
    const options = { method: "POST", key: enteredKey(), signal, ...bodyOf(what) };
    const answer = await ask("v1/annotations", options);
    if (sending !== mine) return; // cancelled, or asked again
    const annotation = answer.annotations[0];
    if (annotation.error) throw new Problem(annotation.error.title, annotation.error.detail);
    shown = what;
    showResult(annotation, what.report);
    if (loaded.approaches.length === 0) load(); // now there is a key
    noteChanges();
    byId("status").textContent = "Done.";
    byId("result-title").scrollIntoView({ block: "nearest" });
  } catch (error) {
    if (sending !== mine) return;
    byId("result").hidden = true;
    byId("status").textContent = "";
    if (!(error instanceof Problem)) throw error;
    showProblem(error);
  } finally {
    if (sending === mine) {
      sending = null;
      setBusy(false);
    }
  }
}

function cancel() {
  if (!sending) return;
  sending.abort();
  sending = null;
  setBusy(false);
  byId("status").textContent = "Cancelled.";
  byId("annotate").focus();
}

function setBusy(busy) {
  byId("cancel").hidden = !busy;
  byId("result").classList.toggle("old", busy);
  byId("result").inert = busy;
  if (busy) byId("status").textContent = "Annotating …";
}

// Problem: there is nothing to send, or too much.
function checkEntered(what) {
  if (what.report.trim() === "" && what.images.length === 0) {
    throw new Problem("There is nothing to annotate", "Enter a report or choose images.", {
      field: "report",
    });
  }
  checkLimits(what, loaded.limits);
}

// Problem: it cannot be sent.
function enteredKey() {
  const key = byId("key").value.trim();
  if (/[^\x21-\x7e]/.test(key)) {
    const detail = "Keys are made of letters, digits and signs; this has something else in it.";
    throw new Problem("This is no API key", detail, { field: "key" });
  }
  return key;
}

// null: there is none any more.
function showProblem(problem) {
  const box = byId("problem");
  box.hidden = problem === null;
  box.replaceChildren();
  for (const field of document.querySelectorAll("[aria-invalid]")) {
    field.removeAttribute("aria-invalid");
  }
  if (problem === null) return;
  box.append(element("strong", {}, `${problem.title}.`), " ", problem.detail);
  if (problem.status === 401) byId("key-box").hidden = false;
  const field = problem.field && byId(problem.field);
  if (field?.matches("input, textarea")) field.setAttribute("aria-invalid", "true");
  (field ?? box).focus();
}

async function load() {
  try {
    loaded = await ask("v1/approaches", { key: enteredKey() });
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    if (error.status === 401 && byId("key-box").hidden) byId("key-box").hidden = false;
    else showProblem(error);
    return;
  }
  showProblem(null);
  const options = loaded.approaches.map(({ name }) => element("option", { value: name }, name));
  byId("approach").replaceChildren(...options);
  byId("approach-field").hidden = options.length < 2;
  showApproach();
}

const INPUTS = { report: "the report alone", image: "images alone", "image+report": "the report and images" };

function showApproach() {
  const approach = loaded.approaches.find(({ name }) => name === byId("approach").value);
  const unread = approach?.inputs === "report" && chosen.length > 0;
  byId("images-unread").hidden = !unread;
  byId("images-unread").textContent = unread ? `${approach.name} does not look at images.` : "";
  byId("about").hidden = !approach;
  if (approach) byId("about").replaceChildren(element("small", {}, about(approach)));
}

function about({ name, inputs, ready, test, review }) {
  const score = test?.macro;
  const interval = score?.ci_low == null ? "" : ` (${digits(score.ci_low)} to ${digits(score.ci_high)})`;
  return [
    `${name} reads ${INPUTS[inputs] ?? inputs}`,
    score?.score != null &&
      `; scores ${digits(score.score)}${interval} on ${score.n} test studies (${test.judge})`,
    review
      ? `; below confidence ${digits(review.threshold)} is for review`
      : "; no review threshold: check every region",
    loaded.commit && `; commit ${loaded.commit.hash.slice(0, 10)}`,
    loaded.commit?.dirty && " with changes",
    !ready && "; not ready at the moment",
    ".",
  ]
    .filter(Boolean)
    .join("");
}

const digits = (number) => number.toFixed(2);

// Whether the findings are still those of what is entered.
function noteChanges() {
  if (shown === null) return;
  const now = entered();
  const sameImages =
    now.images.length === shown.images.length &&
    now.images.every(
      ({ file, projection }, number) =>
        file === shown.images[number].file && projection === shown.images[number].projection,
    );
  byId("changed").hidden =
    sameImages && now.report === shown.report && now.approach === shown.approach;
}

function clear() {
  cancel();
  removeImages();
  byId("report").value = "";
  shown = null;
  byId("result").hidden = true;
  for (const id of ["findings", "source-text", "summary", "json"]) byId(id).replaceChildren();
  byId("status").textContent = "";
  showProblem(null);
  byId("report").focus();
}

byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  annotate();
});
byId("ask").addEventListener("input", () => {
  showApproach();
  noteChanges();
});
byId("cancel").addEventListener("click", cancel);
byId("clear").addEventListener("click", clear);
byId("copy").addEventListener("click", copyJson);
byId("use-key").addEventListener("click", load);
byId("key").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  load();
});
byId("example").addEventListener("click", () => {
  const report = byId("report");
  report.focus();
  report.select();
  document.execCommand("insertText", false, EXAMPLE); // unlike `value`, it can be undone
});
addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    annotate();
  } else if (event.key === "Escape") {
    cancel();
  }
});
if (navigator.platform.startsWith("Mac")) document.querySelector("#annotate kbd").textContent = "⌘";
takeDrops();
load();
