// How far the texts of approaches are apart, as xraygen/language/text.py has it. The index has that
// over all approaches; for some of them it is computed from their texts.

// The mean of 1 - token F1 over the pairs of texts, in [0, 1] with three digits.
function disagreement(texts) {
  const counted = texts.map(countTokens);
  let apart = 0;
  let pairs = 0;
  for (let one = 0; one < texts.length; one += 1) {
    for (let other = 0; other < one; other += 1) {
      pairs += 1;
      if (texts[one] !== texts[other]) apart += distance(counted[one], counted[other]);
    }
  }
  return pairs ? Math.round((1000 * apart) / pairs) / 1000 : 0;
}

function countTokens(text) {
  const counts = new Map();
  const tokens = text.toLowerCase().match(/[a-z0-9]+/g) ?? [];
  for (const token of tokens) counts.set(token, (counts.get(token) ?? 0) + 1);
  return { counts, total: tokens.length };
}

function distance(one, other) {
  const total = one.total + other.total;
  let shared = 0;
  for (const [token, count] of one.counts) shared += Math.min(count, other.counts.get(token) ?? 0);
  return total ? 1 - (2 * shared) / total : 0;
}

// Map from row of the index to the disagreement of these approaches, by region; annotations that
// failed have none. `progress` as in allStudies.
let apart = null;

async function loadDisagreement(index, approaches, progress) {
  const key = approaches.join(" ");
  if (apart?.key === key) return apart.values;
  const values = new Map();
  for await (const [study, row] of allStudies(index, progress)) {
    const given = approaches.filter((one) => !row.failed.includes(one));
    const textsOf = (region) => given.map((one) => study.answers[one].regions[region].text);
    values.set(
      row,
      index.regions.map((region) => disagreement(textsOf(region))),
    );
  }
  apart = { key, values };
  return values;
}
