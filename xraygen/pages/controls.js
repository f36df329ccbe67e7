// The filters and what else can be pressed: from controls to the address, and back.

const inputOf = (name) => byId("filters").elements.namedItem(name);

function prepareControls() {
  const options = (entries) => entries.map(([value, text]) => element("option", { value }, text));
  inputOf("approach").append(
    ...options([
      ["", "any of those shown"],
      ["*", `any of all ${index.approaches.length}`],
      ...index.approaches.map((name) => [name, name]),
    ]),
  );
  inputOf("region").append(...options([["", "any"], ...index.regions.map((name) => [name, name])]));
  inputOf("verdict").append(
    ...options([["", "any"], ...index.verdicts.map((name) => [name, verdictWords(name)])]),
  );
  const clinical = Object.entries(CLINICAL).map(([name, { label }]) => [name, label]);
  inputOf("clinical").append(...options([["", "anything"], ...clinical]));
  byId("clinical-field").hidden = !index.studies.some((row) => row.clinical);
  inputOf("sort").append(...options(Object.entries(SORTS)));
  byId("columns").append(
    ...index.approaches.map((name) =>
      element(
        "label",
        {},
        element("input", { type: "checkbox", name: "show", value: name, onchange: chooseColumns }),
        name,
      ),
    ),
    byId("columns-note"),
  );
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("filters").addEventListener("input", changeFilters);
  byId("clear").addEventListener("click", clearFilters);
  byId("marks").addEventListener("change", (event) => go({ marks: event.target.checked }));
  byId("findings").addEventListener("change", (event) => go({ findings: event.target.checked }));
  byId("study-previous").addEventListener("click", () => step(-1));
  byId("study-next").addEventListener("click", () => step(1));
  byId("list-previous").addEventListener("click", () => turnList(-1));
  byId("list-next").addEventListener("click", () => turnList(1));
}

let typing = null; // the timer that waits for the end of what is being typed

// A study that the address names stays while it is among those found.
function changeFilters({ target }) {
  stopTyping();
  const { name, type, value } = target;
  const ask = (given, replace) => {
    filtering = go({ [name]: given, ...(name === "sort" && { study: null }) }, replace);
  };
  if (type === "checkbox") ask(target.checked);
  else if (type === "number") {
    ask(share(value), true);
    showFilterProblems(); // also where the address stays what it was
  } else if (type !== "search") ask(value);
  // What is typed in one go is one entry in the history.
  else typing = setTimeout(typed, 250, ask, value);
}

// What of the address and of what is typed counts as not asked.
function showFilterProblems() {
  const wrong = SHARES.map(inputOf).filter(({ value }) => value !== "" && share(value) === null);
  const typedProblems = wrong.map(({ name, value }) => notAShare(name, value));
  const text = [...new Set([...addressProblems, ...typedProblems])].join(" ");
  byId("filter-problem").hidden = text === "";
  if (byId("filter-problem").textContent !== text) byId("filter-problem").textContent = text;
}

function typed(ask, value) {
  typing = null;
  if (fields) ask(value, fields.text !== "");
}

function stopTyping() {
  clearTimeout(typing);
  typing = null;
}

// The study that is shown stays, now among all the others.
function clearFilters() {
  stopTyping();
  const kept = Object.fromEntries(VIEW_ONLY.map((name) => [name, fields[name]]));
  for (const name of SHARES) inputOf(name).value = "";
  go({ ...NOTHING_ASKED, ...kept, study: current });
  byId("filter-text").focus();
}

function chooseColumns({ target }) {
  const chosen = new Set(shownNames());
  if (target.checked) chosen.add(target.value);
  else chosen.delete(target.value);
  const names = index.approaches.filter((name) => chosen.has(name));
  // An approach that the filters name is always shown.
  const approach = fields.approach === target.value && !target.checked ? "" : fields.approach;
  const best = index.best.map((number) => index.approaches[number]);
  const isDefault = names.join("\n") === best.join("\n");
  go({ show: isDefault ? [] : names, approach });
}

function turnList(by) {
  first = Math.min(Math.max(0, first + by * LIST_SIZE), found.length - 1);
  showList(found, first, fields, criteriaOf(index, fields, columnsShown()), current);
  byId("list").scrollTop = 0;
}

// The controls as the address has them, and what of it is not understood; what is being typed is
// left alone.
function setControls(columns) {
  for (const control of byId("filters").elements) {
    const value = fields[control.name];
    const isTyped =
      (control.type === "search" && typing !== null) ||
      (control.type === "number" && share(control.value) === value);
    if (!control.name || isTyped) continue;
    if (control.type === "checkbox") control.checked = value;
    else control.value = value ?? "";
    if (control.selectedIndex === -1) control.selectedIndex = 0; // a value that there is not
  }
  for (const box of byId("columns").querySelectorAll("input")) {
    box.checked = columns.includes(index.approaches.indexOf(box.value));
    box.disabled = box.checked && columns.length === 1;
  }
  byId("columns-note").hidden = columns.length > 1;
  showFilterProblems();
  byId("marks").checked = fields.marks;
  byId("findings").checked = fields.findings;
  byId("disagreeing").textContent = fields.approach === "*" ? "All" : "Those shown";
  byId("legend-words").hidden = !fields.marks;
  const filters = Object.keys(NOTHING_ASKED).filter((name) => !VIEW_ONLY.includes(name));
  const active = filters.filter((name) => differ(fields, NOTHING_ASKED, [name])).length;
  byId("filter-count").textContent = active ? `, ${active} in use` : "";
}

// What is there before the studies are.
function prepareFrame() {
  byId("show-keys").hidden = false;
  byId("show-keys").addEventListener("click", () => byId("keys").showModal());
  for (const link of document.querySelectorAll("[data-skip]")) {
    link.addEventListener("click", (event) => {
      event.preventDefault(); // the address is not a place in the page
      byId(link.dataset.skip).focus();
      byId(link.dataset.skip).scrollIntoView();
    });
  }
  const narrow = matchMedia("(max-width: 60rem)");
  const fold = () => {
    byId("filter-box").open = !narrow.matches;
  };
  narrow.addEventListener("change", fold);
  fold();
  document.addEventListener("keydown", pressed);
}

function pressed(event) {
  if (event.key === "Escape" && event.target === inputOf("text")) {
    event.preventDefault();
    if (event.target.value === "") event.target.blur();
    event.target.value = "";
    stopTyping();
    go({ text: "" });
    return;
  }
  if (!isShortcut(event)) return;
  if (event.key === "?") {
    event.preventDefault();
    byId("keys").showModal();
  } else if (event.key === "j") {
    if (fields) step(1, event.repeat);
    else location.hash = "studies";
  } else if (fields && event.key === "k") {
    step(-1, event.repeat);
  } else if (event.key === "/") {
    event.preventDefault();
    if (fields) focusSearch();
    else searchNext();
  }
}

function focusSearch() {
  byId("filter-box").open = true;
  byId("filter-text").focus();
}

// From the overview to the studies; there is nothing to search before they are shown.
function searchNext() {
  focusNext = true;
  location.hash = "studies";
}
