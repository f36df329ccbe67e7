// The list of the studies found, a part at a time, so that 10,000 are as quick as 100.

const LIST_SIZE = 100;

const twoDigits = (value) => (value === null ? "–" : value.toFixed(2));

// How poor a score is, as a class for its colour.
const quality = (score) =>
  score === null ? "" : score < 0.5 ? "bad" : score < 0.75 ? "warn" : "good";

// Shows the part of the list that begins with item `first`.
function showList(found, first, fields, criteria, current) {
  const hadFocus = byId("list").contains(document.activeElement);
  const items = found.slice(first, first + LIST_SIZE).map((one) => listItem(one, fields, criteria));
  byId("list").replaceChildren(...items);
  byId("list").setAttribute("start", first + 1);
  byId("pager").hidden = found.length <= LIST_SIZE;
  byId("list-from").textContent =
    `${first + 1}–${first + items.length} of ${found.length.toLocaleString("en")}`;
  byId("list-previous").disabled = first === 0;
  byId("list-next").disabled = first + LIST_SIZE >= found.length;
  markCurrent(current);
  const focused =
    hadFocus && (byId("list").querySelector("[aria-current]") ?? items[0]?.firstChild);
  if (focused) focused.focus({ preventScroll: true });
}

function listItem({ row, worst, mean, clinical, disagreement, confidence }, fields, criteria) {
  const asked = (name, isAsked, value, kind = "") =>
    (isAsked || fields.sort === name) &&
    element("span", { class: kind }, `${name} ${twoDigits(value)}`);
  const scores = element(
    "span",
    { class: "scores" },
    element("span", { class: quality(worst) }, `worst ${twoDigits(worst)}`),
    element("span", {}, `mean ${twoDigits(mean)}`),
    asked("clinical", fields.clinical !== "", clinical.worst, quality(clinical.worst)),
    asked("disagreement", fields.disagree !== null, disagreement),
    asked("confidence", false, confidence),
  );
  const link = { href: address({ ...fields, study: row.id }), "data-id": row.id };
  return element(
    "li",
    {},
    element("a", link, element("span", { class: "id" }, row.id), scores, flags(row, criteria)),
  );
}

// What is worth knowing of a study at a glance. Texts without support and failures are those of
// the approaches that the scores are of.
function flags(row, criteria) {
  const unsupported = criteria.summarised.some((approach) =>
    criteria.regions.some((region) => row.support[approach][region] === "u"),
  );
  const failed = criteria.summarised.some((approach) => row.failed.includes(approach));
  const chip = (is, kind, text) => is && element("span", { class: `chip ${kind}` }, text);
  return element(
    "span",
    { class: "flags" },
    chip(row.abnormal.length > 0, "warn", "abnormal"),
    chip(unsupported, "bad", "unsupported"),
    chip(failed, "bad", "failed"),
    chip(row.novel, "", "novel"),
  );
}

function markCurrent(id) {
  const list = byId("list");
  list.querySelector("[aria-current]")?.removeAttribute("aria-current");
  const link = Array.from(list.querySelectorAll("a")).find((one) => one.dataset.id === id);
  if (!link) return;
  link.setAttribute("aria-current", "true");
  const box = list.getBoundingClientRect();
  const place = link.getBoundingClientRect();
  // Only the list scrolls, never the page.
  if (place.top < box.top) list.scrollTop -= box.top - place.top;
  else if (place.bottom > box.bottom) list.scrollTop += place.bottom - box.bottom;
}
