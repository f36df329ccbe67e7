// Which studies are asked for, and in which order. The index has, of each study, a number for each
// approach and region; "pairs" are (approach, region) as numbers in the index's lists.

// What became of a pair.
const VERDICTS = {
  judged: "judged",
  identical: "identical",
  both_empty: "both empty",
  reference_empty: "reference empty",
  candidate_empty: "answer empty",
  unparseable: "judgement unreadable",
  failed: "not judged",
};
const verdictWords = (name) => VERDICTS[name] ?? name.replaceAll("_", " ");

// What the judge can have found of a pair's abnormal findings. `is` is told the pair's clinical
// score and its errors: bit 1 = a finding is missed, bit 2 = one is invented.
const CLINICAL = {
  missed: { label: "abnormal finding missed", is: (score, errors) => (errors & 1) > 0 },
  invented: { label: "abnormal finding invented", is: (score, errors) => (errors & 2) > 0 },
  either: { label: "missed or invented", is: (score, errors) => errors > 0 },
  detail: { label: "found, but wrong in detail", is: (score, errors) => errors === 0 && score < 1 },
  right: { label: "all right", is: (score) => score === 1 },
};

// What the filters ask for, in numbers of the index. `shown`: numbers of the approaches shown. The
// floor is left out of those unless it is alone: it is the worst nearly everywhere, which says
// nothing of a study.
function criteriaOf(index, fields, shown) {
  const everyone = index.approaches.map((_, number) => number);
  const named = index.approaches.indexOf(fields.approach);
  const region = index.regions.indexOf(fields.region);
  const scored = index.regions.map((name) => index.scored.indexOf(name));
  const verdict = index.verdicts.indexOf(fields.verdict);
  const floor = index.approaches.indexOf(settings.floor);
  const withoutFloor = (list, least = 1) => {
    const others = list.filter((one) => one !== floor);
    return others.length >= least ? others : list;
  };
  const approaches =
    named >= 0 ? [named] : fields.approach === "*" ? everyone : withoutFloor(shown);
  return {
    ...fields,
    approaches,
    summarised: withoutFloor(approaches), // what the list shows and is sorted by
    // Whose disagreement is asked for, and what it is in a row, by region.
    disagreeing: fields.approach === "*" ? everyone : withoutFloor(shown, 2),
    apart: (row) => row.disagreement, // over all
    regions: region >= 0 ? [region] : index.regions.map((_, number) => number),
    scored, // of each region: its number among those scored, or -1
    verdict: verdict >= 0 ? verdict : null,
    clinical: CLINICAL[fields.clinical] ?? null,
    ofPairs:
      verdict >= 0 ||
      fields.clinical !== "" ||
      fields.min !== null ||
      fields.max !== null ||
      fields.disagree !== null ||
      fields.abnormal ||
      fields.unsupported ||
      fields.failed,
  };
}

// The pairs of a study that have everything that the filters ask of a pair, all at once.
function* matchingPairs(row, criteria) {
  for (const region of criteria.regions) {
    const scored = criteria.scored[region];
    if (criteria.abnormal && !row.abnormal.includes(scored)) continue;
    if (criteria.disagree !== null && !(criteria.apart(row)[region] >= criteria.disagree)) continue;
    for (const approach of criteria.approaches) {
      if (criteria.failed && !row.failed.includes(approach)) continue;
      if (criteria.unsupported && row.support[approach][region] !== "u") continue;
      if (criteria.verdict !== null && row.verdict[approach][scored] !== criteria.verdict) continue;
      if (criteria.clinical && !isClinically(row, approach, scored, criteria.clinical)) continue;
      const score = row.score[approach][scored] ?? null;
      if (criteria.min !== null && (score === null || score < criteria.min)) continue;
      if (criteria.max !== null && (score === null || score > criteria.max)) continue;
      yield [approach, region];
    }
  }
}

// Not where the judge does not tell.
function isClinically(row, approach, scored, { is }) {
  const score = clinicalScore(row, approach, scored);
  return score !== null && is(score, Number(row.errors[approach][scored]));
}

const clinicalScore = (row, approach, scored) => row.clinical?.[approach][scored] ?? null;

function matches(row, criteria) {
  if (criteria.novel && !row.novel) return false;
  return !criteria.ofPairs || !matchingPairs(row, criteria).next().done;
}

// The words that are searched, and "what is in quotes" as it stands; all in lower case. A study is
// found if it has all of them.
function searchedParts(asked) {
  return Array.from(
    asked.toLowerCase().matchAll(/"([^"]+)"?|([^\s"]+)/g),
    (part) => part[1] ?? part[2],
  );
}

// The worst and the mean score and clinical score of the approaches and regions that the filters
// are about, and the largest disagreement and the least confidence there; null where there is none.
// The floor is left out unless it is alone.
function summary(row, criteria) {
  const scores = [];
  const clinical = [];
  const confidences = [];
  for (const region of criteria.regions) {
    const scored = criteria.scored[region];
    for (const approach of criteria.summarised) {
      scores.push(row.score[approach][scored] ?? null);
      clinical.push(clinicalScore(row, approach, scored));
      confidences.push(row.confidence[approach][region]);
    }
  }
  const apart = criteria.regions.map((region) => criteria.apart(row)[region]);
  return {
    ...extent(scores),
    clinical: extent(clinical),
    disagreement: Math.max(...apart),
    meanDisagreement: extent(apart).mean,
    confidence: extent(confidences).worst,
  };
}

function extent(values) {
  const given = values.filter((value) => value !== null);
  if (given.length === 0) return { worst: null, mean: null };
  const total = given.reduce((sum, value) => sum + value, 0);
  return { worst: Math.min(...given), mean: total / given.length };
}

const SORTS = {
  id: "id",
  score: "score, worst first",
  clinical: "clinical score, worst first",
  disagreement: "disagreement, most first",
  confidence: "confidence, least first",
};

// The studies asked for, in order: [{number, row} with their summary].
// `texts`: what loadTexts gives, or null where no text is asked for.
function search(index, criteria, texts) {
  const parts = searchedParts(criteria.text);
  const found = [];
  index.studies.forEach((row, number) => {
    if (!matches(row, criteria)) return;
    if (texts && !parts.every((part) => texts[number].includes(part))) return;
    found.push({ number, row, ...summary(row, criteria) });
  });
  const last = Number.MAX_VALUE; // studies without a value come last
  const keys = {
    score: (one) => [one.worst ?? last, one.mean ?? last],
    clinical: (one) => [one.clinical.worst ?? last, one.clinical.mean ?? last],
    disagreement: (one) => [-one.disagreement, -one.meanDisagreement],
    confidence: (one) => [one.confidence ?? last, 0],
  };
  const place = placesById(index);
  const key = keys[criteria.sort] ?? (() => [0, 0]);
  const keyed = found.map((one) => ({ one, key: [...key(one), place[one.number]] }));
  keyed.sort((a, b) => a.key[0] - b.key[0] || a.key[1] - b.key[1] || a.key[2] - b.key[2]);
  return keyed.map(({ one }) => one);
}

// The place of each study in the order of ids, with numbers in them by value.
let places = null;
function placesById(index) {
  if (places) return places;
  const numbers = index.studies.map((_, number) => number);
  const { compare } = new Intl.Collator("en", { numeric: true });
  numbers.sort((a, b) => compare(index.studies[a].id, index.studies[b].id) || a - b);
  places = new Uint32Array(numbers.length);
  numbers.forEach((number, place) => {
    places[number] = place;
  });
  return places;
}

// The approaches shown unless others are asked for: the two with the best mean score, and the
// floor that the page names, or else the third best; in the order of the index.
function bestApproaches(index) {
  const means = index.approaches.map((_, approach) => {
    let total = 0;
    let count = 0;
    for (const row of index.studies) {
      for (const score of row.score[approach]) {
        if (score === null) continue;
        total += score;
        count += 1;
      }
    }
    return count ? total / count : -1;
  });
  const floor = index.approaches.indexOf(settings.floor);
  const ranked = index.approaches.map((_, number) => number).filter((number) => number !== floor);
  ranked.sort((a, b) => means[b] - means[a]);
  const chosen = floor < 0 ? ranked.slice(0, 3) : [...ranked.slice(0, 2), floor];
  return chosen.sort((a, b) => a - b);
}
