// Comparisons with the baseline: what results/compare.py calculates, for the rows and seeds that count.

const BY_ROW = {accuracy: 'McNemar', auc: 'DeLong'};

function decoded(text) {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
}

function bitsOf(buffer) {
  const bits = new Uint8Array(buffer);
  return (i) => (bits[i >> 3] >> (7 - (i & 7))) & 1;
}

// [S][N], of every seed, NaN of a row that it does not test; null where it is not known.
function influenceOf(one, row, metric) {
  const held = row.influence && row.influence[metric];
  if (!held) return null;
  if (!held.psi) {
    const n = row.tested ?? row.met, s = row.seeds.length, buffer = decoded(held.data);
    if (held.low) {
      const is = bitsOf(buffer), tests = row.tested === null ? bitsOf(decoded(one.tests[row.tests])) : () => 1;
      held.psi = held.low.map((low, k) => Float64Array.from({length: n}, (_, i) => (
        !tests(k * n + i) || low === null ? NaN : is(k * n + i) ? held.high[k] : low)));
    } else {
      const all = new Float64Array(buffer);
      held.psi = Array.from({length: s}, (_, k) => all.subarray(k * n, (k + 1) * n));
    }
  }
  return held.psi;
}

// The part by test row of the variance of the mean difference, of all seeds: {byRow, rows}; null where it is not here.
function varianceOfPair(one, metric, a, b) {
  const held = one.by_row[metric], i = one.rows.indexOf(a.number), j = one.rows.indexOf(b.number);
  if (!held) return null;
  held.numbers ??= new Float64Array(decoded(held.data));
  const [x, y] = [held.covered.indexOf(i), held.covered.indexOf(j)].sort((p, q) => p - q);
  if (x >= 0 && x !== y) return {byRow: held.numbers[(y * (y - 1)) / 2 + x], rows: held.rows};
  const pair = held.pairs.find(([p, q]) => (p === i && q === j) || (p === j && q === i));
  return pair ? {byRow: pair[2], rows: pair[3]} : null;
}

// The same of fixed test rows: var over rows of the mean over seeds of psi [S][N], by N, less what seeds add to it.
function crossed(psi) {
  const s = psi.length, n = psi[0].length, ofRow = new Float64Array(n), ofSeed = psi.map(mean), all = mean(ofSeed);
  for (const values of psi) for (let i = 0; i < n; i++) ofRow[i] += values[i] / s;
  let found = variance(ofRow), left = 0;
  if (s > 1) {
    psi.forEach((values, k) => { for (let i = 0; i < n; i++) left += (values[i] - ofRow[i] - ofSeed[k] + all) ** 2; });
    found = Math.max(0, found - left / ((s - 1) * (n - 1)) / s);
  }
  return found / n;
}

function overSeeds(psi) { // the mean over the seeds that test a row; NaN where none does; null where a seed knows of none
  if (psi.some((values) => values.every(Number.isNaN))) return null;
  const sums = new Float64Array(psi[0].length), often = new Uint32Array(sums.length);
  for (const values of psi) {
    for (let i = 0; i < sums.length; i++) {
      if (Number.isNaN(values[i])) continue;
      sums[i] += values[i];
      often[i]++;
    }
  }
  return sums.map((sum, i) => (often[i] ? sum / often[i] : NaN));
}

function varianceOfMet(one, a, b, metric, seeds) { // of rows whose seeds draw their own test rows
  const held = [a, b].map((row) => [row, influenceOf(one, row, metric)]);
  if (!seeds.length || held.some(([row, psi]) => row.tested !== null || !psi)) return varianceOfPair(one, metric, a, b);
  const [ofA, ofB] = held.map(([row, psi]) => overSeeds(seeds.map((s) => psi[row.seeds.indexOf(s)])));
  if (!ofA || !ofB) return null;
  const psi = ofA.map((v, i) => v - ofB[i]).filter((v) => !Number.isNaN(v));
  return psi.length > 1 ? {byRow: variance(psi) / psi.length, rows: psi.length} : null;
}

function varianceByRow(one, a, b, metric, seeds) { // of rows that share fixed test rows
  const n = a.tested, ofA = influenceOf(one, a, metric), ofB = influenceOf(one, b, metric);
  if (n < 2 || !seeds.length) return null;
  if (!ofA || !ofB) return varianceOfPair(one, metric, a, b);
  const psi = seeds.map((s) => {
    const values = ofA[a.seeds.indexOf(s)], others = ofB[b.seeds.indexOf(s)];
    return values.map((v, i) => v - others[i]);
  });
  return {byRow: crossed(psi), rows: n};
}

function sizeAt(sizes, row, seed) {
  return Array.isArray(sizes) ? sizes[row.seeds.indexOf(seed)] : sizes;
}

function known(sizes) {
  return !(Array.isArray(sizes) && !sizes.length);
}

function overlapOf(row, seeds) { // test rows by training rows where every seed draws its own; null elsewhere
  if (row.tested !== null || !known(row.train_rows) || !seeds.length) return null;
  const trained = mean(seeds.map((s) => sizeAt(row.train_rows, row, s)));
  return trained ? mean(seeds.map((s) => sizeAt(row.test_rows, row, s))) / trained : null;
}

function unpaired(a, b, seeds) {
  if (!a.splits.length || !b.splits.length) return false;
  return seeds.some((s) => a.splits[a.seeds.indexOf(s)] !== b.splits[b.seeds.indexOf(s)]);
}

function testRowsOf(row, seeds) { // the mean number of these seeds; 0 where it is not stored
  if (row.tested !== null) return row.tested;
  return known(row.test_rows) ? mean(seeds.map((s) => sizeAt(row.test_rows, row, s))) : 0;
}

// 1/N of a metric that is a share, of the row with fewer test rows; of pairs 4/N^2 unless all d are the same; 0 elsewhere.
function stepOf(a, b, metric, seeds, d) {
  if (!seeds.length || !study.metrics[metric].fraction) return 0;
  const sizes = [testRowsOf(a, seeds), testRowsOf(b, seeds)].filter((size) => size > 0);
  const one = sizes.length ? 1 / Math.min(...sizes) : 0;
  return study.metrics[metric].pairs && !alike(d) ? Math.min(one, 4 * one ** 2) : one;
}

// How the seeds' splits lie decides the test (results/differences.py): {ratio, byRow, rows, method}.
function variancesOf(one, a, b, metric, seeds) {
  const how = BY_ROW[metric.split(': ').at(-1)] || 'delta method or jackknife', none = {ratio: 0, byRow: 0, rows: 0};
  if (a.tested !== null && a.shared === b.shared) {
    const found = varianceByRow(one, a, b, metric, seeds);
    if (found) return {ratio: 0, ...found, fixed: true, method: `Student t by seed and by test row (${how})`};
    return {...none, method: 'Student t by seed on fixed test rows (what other rows would give is not known)'};
  }
  const drawn = [overlapOf(a, seeds), overlapOf(b, seeds)].filter((v) => v !== null);
  if (!drawn.length) {
    const unsaid = [a, b].some((row) => row.cell && row.tested === null && !known(row.train_rows));
    return {...none, method: `Student t${unsaid ? ' (sizes of the splits are not stored: not corrected)' : ''}`};
  }
  const overlap = Math.max(...drawn), other = unpaired(a, b, seeds) ? '; their splits are not the same' : '';
  const found = overlap > 1 ? varianceOfMet(one, a, b, metric, seeds) : null;
  if (!found) return {...none, ratio: overlap, method: `Nadeau-Bengio, test/train ${overlap.toFixed(2)}${other}`};
  return {ratio: 1 / overlap, ...found, method: `Nadeau-Bengio for training rows, train/test ${(1 / overlap).toFixed(2)}, and by test row (${how})${other}`};
}

const FLOOR = '; spread at least one test row'; // of a method, where it binds

function estimated(one, a, b, metric, seeds, d) { // the estimate of these seeds, and how it came about
  const how = variancesOf(one, a, b, metric, seeds), plain = how.byRow, less = (x, y) => x < y * (1 - 1e-9);
  how.least = stepOf(a, b, metric, seeds, d);
  if (how.fixed && d.length > 1) how.byRow = Math.max(plain, how.least ** 2 - spreadOf(d, 0) ** 2);
  const found = estimate(d, how.ratio, how.byRow, how.rows, how.least), {df} = estimate(d, how.ratio, plain, how.rows, 0);
  found.df = Math.min(found.df, Number.isNaN(df) ? d.length - 1 : df);
  if (d.length < 2) how.method = `${d.length ? 'one common seed' : 'no common seed'}: nothing is known`;
  else if (Number.isNaN(found.error)) how.method += '; all seeds differ by the same: nothing is known';
  else if (less(spreadOf(d, 0), how.least) || less(plain, how.byRow)) how.method += FLOOR;
  return {how, found};
}

// p and the interval of an estimate; where the study was looked at while seeds were added, those that hold at all looks.
function concluded(one, a, b, metric, seeds, d) {
  const {how, found} = estimated(one, a, b, metric, seeds, d), limit = Math.max(a.limit, b.limit);
  if (!limit) return {how, found, p: pOf(found), interval: intervalOf(found)};
  const looks = a.looks.filter((n) => b.looks.includes(n));
  const ps = looks.map((n) => {
    const kept = seeds.map((s, i) => i).filter((i) => seeds[i] < n);
    return pOf(estimated(one, a, b, metric, kept.map((i) => seeds[i]), kept.map((i) => d[i])).found);
  });
  how.method += `; looked at ${looks.join(', ') || 'none'} of at most ${limit} seeds`;
  const level = looks.length ? 1 - study.looks.nominal[looks.length - 1] : NaN;
  return {how, found, p: sequentialP(ps, study.looks), interval: looks.length ? intervalOf(found, level) : [NaN, NaN]};
}

function comparison(one, a, b, metric) { // a against b by itself
  const ofA = bySeed(a, metric), ofB = bySeed(b, metric);
  const seeds = [...ofA.keys()].filter((s) => Number.isFinite(ofA.get(s) + (ofB.has(s) ? ofB.get(s) : NaN))).sort((x, y) => x - y);
  const d = seeds.map((s) => ofA.get(s) - ofB.get(s));
  const {how, found, p, interval: [low, high]} = concluded(one, a, b, metric, seeds, d);
  const spread = spreadOf(d, how.least);
  return {
    base: b, seeds, d, difference: found.mean, low, high, p, method: how.method, effect: effectSize(d, how.least),
    improvement: improvementOf(d.map((v) => study.metrics[metric].sign * v)), ratio: how.ratio + (spread > 0 ? how.byRow / spread ** 2 : 0),
  };
}

// What takes its time, calculated where it is shown: both exact tests, and the seeds for a power of 80 %.
const LATER = {
  wilcoxon: (line) => wilcoxon(line.d), permutation: (line) => signFlip(line.d), needed: (line) => seedsNeeded(line.effect, line.ratio) ?? NaN,
};

function later(line, key) {
  return line[key] ??= LATER[key](line);
}

// The lines of a group: every row with its summary and, but for the baseline and rows that are not run, its
// comparison. Holm's family are all comparisons on the data set of which something is known.
function compared(one, metric) {
  const groups = study.groups.filter((other) => other.data === one.data && (other === one || metricsOf(other).includes(metric)));
  const lines = groups.flatMap((other) => {
    const named = baselinesOf(other, metric);
    return rowsOf(other).map((row) => {
      const line = {group: other, row, ...summary(row, metric), isBaseline: row === named[0]};
      if (line.isBaseline || !named.length || !usable(row, metric)) return line;
      return {...line, ...comparison(other, row, baselineFor(row, named), metric)};
    });
  });
  const family = lines.filter((line) => line.p !== undefined);
  holm(family.map((line) => line.p)).forEach((adjusted, i) => {
    family[i].adjusted = adjusted;
    family[i].mark = adjusted < ALPHA ? Math.sign(family[i].difference) * study.metrics[metric].sign : 0;
  });
  return {named: baselinesOf(one, metric), family: family.filter((line) => !Number.isNaN(line.p)).length, lines: lines.filter((line) => line.group === one)};
}
