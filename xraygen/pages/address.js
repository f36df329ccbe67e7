// The view as the fragment of the address has it, so that a link shows what its sender saw.

const NOTHING_ASKED = {
  study: null, // an id; null = the first one found
  approach: "", // whose answers the filters are about: "" = those shown, "*" = all, or a name
  region: "",
  verdict: "",
  clinical: "", // what the judge found: a name in CLINICAL (filters.js)
  min: null, // scores in [0, 1]
  max: null,
  disagree: null, // in [0, 1], at least
  abnormal: false,
  unsupported: false,
  failed: false,
  novel: false,
  text: "",
  sort: "id",
  show: [], // approaches; none = chosen by the page
  marks: true,
  findings: true,
};
const VIEW_ONLY = ["study", "sort", "show", "marks", "findings"]; // what leaves no study out

// The fields of a fragment such as "#study=1&min=0.5"; null if it names no view of studies, but
// the overview or a part of it. What cannot be understood counts as not asked.
function parseAddress(fragment) {
  const written = fragment.replace(/^#/, "");
  if (written !== "studies" && !written.includes("=")) return null;
  const given = new URLSearchParams(written);
  const fields = { ...NOTHING_ASKED };
  for (const [name, absent] of Object.entries(NOTHING_ASKED)) {
    if (!given.has(name)) continue;
    if (name === "show") fields.show = given.getAll("show");
    else if (typeof absent === "boolean") fields[name] = given.get(name) !== "0";
    else if (SHARES.includes(name)) fields[name] = share(given.get(name));
    else fields[name] = given.get(name);
  }
  return fields;
}

// The fields without what this report does not have, and what is wrong with those of a fragment: a
// line each. `known`: the values of the fields that are names.
function understood(fields, fragment, known) {
  const problems = [];
  const usable = { ...fields };
  for (const [name, values] of Object.entries(known)) {
    const given = [fields[name]].flat();
    const unknown = given.filter((one) => one !== NOTHING_ASKED[name] && !values.includes(one));
    for (const one of unknown) problems.push(`This report has no ${WORDS[name] ?? name} “${one}”.`);
    if (unknown.length === 0) continue;
    usable[name] =
      name === "show" ? given.filter((one) => values.includes(one)) : NOTHING_ASKED[name];
  }
  const written = new URLSearchParams(fragment.replace(/^#/, ""));
  for (const name of SHARES) {
    const text = written.get(name) ?? "";
    if (text !== "" && share(text) === null) problems.push(notAShare(name, text));
  }
  return { fields: usable, problems };
}

const SHARES = ["min", "max", "disagree"];
const WORDS = {
  show: "approach",
  sort: "order",
  clinical: "finding of the judge",
  min: "Score from",
  max: "Score to",
  disagree: "Disagreement",
};

const notAShare = (name, text) => `${WORDS[name]}: ${text} is not a number from 0 to 1.`;

function share(text) {
  const number = text.trim() === "" ? Number.NaN : Number(text);
  return number >= 0 && number <= 1 ? number : null;
}

// The fragment for these fields; parseAddress reads it back. No element has such an id: browsers
// move the focus to an element that a fragment names.
function address(fields) {
  const written = new URLSearchParams();
  for (const [name, absent] of Object.entries(NOTHING_ASKED)) {
    const value = fields[name];
    if (name === "show") value.forEach((approach) => written.append("show", approach));
    else if (value === absent) continue;
    else if (typeof absent === "boolean") written.set(name, value ? "1" : "0");
    else written.set(name, value);
  }
  return "#" + (written.toString() || "studies");
}

const differ = (one, other, names) =>
  names.some((name) => String(one[name]) !== String(other[name]));
