// Which words of a text differ from a reference: wordRuns compares, markedWords shows.

// Of the table below: two texts of 2,000 words; longer ones differ as a whole.
const MOST_CELLS = 4e6;

// [[text, "same" | "missing" | "added"], ...]: "missing" runs are of the reference, the others are
// of the text; put together, those others are the text itself. Case does not count. Punctuation
// may match, but never at the price of a word. A word or two that match between longer parts that
// do not are taken for chance: they are missing and added.
function wordRuns(reference, text) {
  const runs = [];
  const add = (list, kind) => {
    const joined = list.map((piece) => piece.text).join("");
    if (joined) runs.push([joined, kind]);
  };
  for (const part of withoutChance(alignment(pieces(reference), pieces(text)))) {
    add(part.missing, "missing");
    add(part.added, "added");
    add(part.same, "same");
  }
  return runs;
}

// The pieces of both texts in parts, in each first what differs, then what is the same: `same` as
// the text has it, `also` as the reference does.
function alignment(before, after) {
  if (before.length * after.length > MOST_CELLS) {
    return [{ missing: before, added: after, same: [], also: [] }];
  }
  const common = commonWeights(before, after);
  const parts = [];
  let i = 0;
  let j = 0;
  while (i < before.length || j < after.length) {
    const matches = i < before.length && j < after.length && before[i].key === after[j].key;
    const same = matches && common[i][j] === common[i + 1][j + 1] + before[i].weight;
    let part = parts.at(-1);
    if (!part || (!same && part.same.length > 0)) {
      part = { missing: [], added: [], same: [], also: [] };
      parts.push(part);
    }
    const skipsBefore =
      j === after.length || (i < before.length && common[i + 1][j] >= common[i][j + 1]);
    if (same) {
      part.same.push(after[j]);
      part.also.push(before[i]);
    } else if (skipsBefore) {
      part.missing.push(before[i]);
    } else {
      part.added.push(after[j]);
    }
    i += same || skipsBefore;
    j += same || !skipsBefore;
  }
  return parts;
}

const MOST_BY_CHANCE = 2; // words

function withoutChance(parts) {
  const kept = parts.slice(0, 1);
  for (const part of parts.slice(1)) {
    const last = kept.at(-1);
    const matched = words(last.same);
    const byChance =
      matched <= MOST_BY_CHANCE && matched < different(last) && matched < different(part);
    if (byChance) {
      last.missing = [...last.missing, ...last.also, ...part.missing];
      last.added = [...last.added, ...last.same, ...part.added];
      last.same = part.same;
      last.also = part.also;
    } else {
      kept.push(part);
    }
  }
  return kept;
}

const words = (list) => list.filter((piece) => piece.weight > 1).length;
const different = (part) => Math.max(words(part.missing), words(part.added));

// Words (letters, marks and digits; also "1.5" and "patient's") and single signs, each with the
// white space that follows it.
const PIECE = /^\s+|((?:[\p{L}\p{M}\p{N}]+(?:[.,'’](?=[\p{L}\p{N}]))?)+|\S)\s*/gu;

function pieces(text) {
  const found = text.matchAll(PIECE);
  return Array.from(found, (match) => {
    const key = (match[1] ?? "").toLowerCase();
    return { text: match[0], key, weight: /[\p{L}\p{N}]/u.test(key) ? 100 : 1 };
  });
}

// common[i][j]: the weight of the heaviest common subsequence of before[i:] and after[j:].
function commonWeights(before, after) {
  const common = Array.from(before, () => null);
  common.push(new Uint32Array(after.length + 1));
  for (let i = before.length - 1; i >= 0; i -= 1) {
    const below = common[i + 1];
    const row = new Uint32Array(after.length + 1);
    for (let j = after.length - 1; j >= 0; j -= 1) {
      row[j] = Math.max(below[j], row[j + 1]);
      if (before[i].key === after[j].key)
        row[j] = Math.max(row[j], below[j + 1] + before[i].weight);
    }
    common[i] = row;
  }
  return common;
}

// The text with <ins class="added"> around words that the reference lacks, and <del
// class="missing"> with the words that the text lacks.
function markedWords(reference, text) {
  const fragment = document.createDocumentFragment();
  const runs = wordRuns(reference, text);
  runs.forEach(([run, kind], index) => {
    const marked = run.trim();
    if (kind === "same" || !/[\p{L}\p{N}]/u.test(marked)) {
      fragment.append(kind === "missing" ? "" : run); // signs alone are not worth a mark
      return;
    }
    const mark = document.createElement(kind === "added" ? "ins" : "del");
    mark.className = kind;
    mark.textContent = marked;
    if (kind === "added") {
      const start = run.indexOf(marked);
      fragment.append(run.slice(0, start), mark, run.slice(start + marked.length));
      return;
    }
    // The spaces of the reference do not fit the text: a word has one on either side.
    const joins = !/^[\p{L}\p{N}(]/u.test(marked);
    const before = index > 0 && !joins && /\S$/u.test(runs[index - 1][0]) ? " " : "";
    const after = index + 1 < runs.length && /^[\p{L}\p{N}(]/u.test(runs[index + 1][0]) ? " " : "";
    fragment.append(before, mark, after);
  });
  return fragment;
}
