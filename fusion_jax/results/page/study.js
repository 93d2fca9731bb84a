// The study and what its reader has chosen: rows, seeds that count, comparisons with the baseline.

const state = {
  group: 0, metric: '', baseline: '', filter: '', // baseline: the key of a row; '' for the study's own
  seedsOff: new Set(), rowsOff: new Set(), sorts: {}, whole: new Set(), open: new Set(), cost: 'parameters',
};
let study = null;

function load(data) {
  study = data;
  study.rows.forEach((row, i) => {
    row.number = i;
    row.cited = Object.keys(row.published).length > 0;
    row.plain = row.name; // without what the label says of seeds that are missing
    row.some = row.label.startsWith(row.plain) ? row.label.slice(row.plain.length).trim() : '';
    row.name = row.plain + (row.placement === '-' ? '' : `, ${row.placement}`);
    row.key = row.cell || `${row.data}|${row.plain}|${row.placement}|${row.cited}`;
    row.values = {...row.values, ...(row.calibration || {})};
    row.facts = study.cells[row.cell] || {};
  });
  state.group = Math.min(state.group, study.groups.length - 1);
}

function group() {
  return study.groups[state.group];
}

function rowsOf(one) {
  return one.rows.map((i) => study.rows[i]);
}

function metricsOf(one) { // in the order of their columns
  const there = new Set(rowsOf(one).flatMap((row) => [...Object.keys(row.values), ...Object.keys(row.published)]));
  return Object.keys(study.metrics).filter((name) => there.has(name));
}

function metricOf(one) { // the chosen one where the group has it, else the one that ranks its rows
  const there = metricsOf(one);
  return there.includes(state.metric) ? state.metric : there.includes(one.primary) ? one.primary : there[0] || '';
}

function seedsOf(one) { // all that some row has
  return [...new Set(rowsOf(one).flatMap((row) => row.seeds))].sort((a, b) => a - b);
}

function bySeed(row, metric) { // Map of the seeds that count to their values
  const values = row.values[metric] || [];
  const found = new Map();
  row.seeds.forEach((seed, i) => {
    if (!state.seedsOff.has(seed) && i < values.length) found.set(seed, values[i] === null ? NaN : values[i]);
  });
  return found;
}

function summary(row, metric) { // mean, sample deviation and number of seeds; NaN where something is undefined
  if (row.published[metric]) {
    const [value, sd] = row.published[metric];
    return {mean: value, sd: sd === null ? NaN : sd, n: 0};
  }
  const values = [...bySeed(row, metric).values()];
  if (!values.length || values.some(Number.isNaN)) return {mean: NaN, sd: NaN, n: values.length};
  return {mean: mean(values), sd: deviation(values), n: values.length};
}

function takesPart(row, metric) {
  return !row.cited && !state.rowsOff.has(row.key) && Number.isFinite(summary(row, metric).mean);
}

function usable(row, metric) { // whether it can be compared: it was run, has a value, and is not left out
  return !row.cited && !state.rowsOff.has(row.key) && [...bySeed(row, metric).values()].some(Number.isFinite);
}

// The rows that others are compared with, the one before the graph layers first (families.baselines): of those that are
// meant the ones with a value; where a group has none that is meant, its first row.
function baselinesOf(one, metric) {
  const ours = rowsOf(one).filter((row) => !row.cited), able = ours.filter((row) => usable(row, metric));
  const wanted = [state.baseline, `name:${study.baseline}`, `name:${study.standard}`].filter(Boolean);
  const meant = wanted.map((name) => ours.filter((row) => isMeant(row, name))).find((rows) => rows.length);
  if (!meant) return able.slice(0, 1);
  const found = able.filter((row) => meant.includes(row)), before = (row) => row.placement === 'before';
  return [...found.filter(before), ...found.filter((row) => !before(row))];
}

function isMeant(row, baseline) { // by "row:" and its key, or by "name:" and what families.is_named knows
  const [kind, ...rest] = baseline.split(':'), wanted = rest.join(':');
  if (kind === 'row') return row.key === wanted;
  const names = [row.label, row.plain, row.plain.replace(/ \(tuned, \d+ trials\)$/, '')];
  return names.some((name) => name === wanted || `${name}, ${row.placement}` === wanted);
}

function baselineFor(row, named) { // the one that is placed as the row is; of a baseline the first
  return named.includes(row) ? named[0] : named.find((base) => base.placement === row.placement) || named[0];
}

function matches(row) { // whether all words of the filter are in the row's name
  const text = `${row.name} ${row.data}`.toLowerCase();
  return state.filter.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}

function best(one, metric) { // number of the row with the best mean among those that take part
  const {sign} = study.metrics[metric];
  let top = null;
  for (const row of rowsOf(one)) {
    if (!takesPart(row, metric)) continue;
    const value = sign * summary(row, metric).mean;
    if (top === null || value > top.value) top = {value, number: row.number};
  }
  return top ? top.number : -1;
}

// Ranks of the rows that every group has, by name: {name: {means by group, ranks by group, mean rank}}.
function grid() {
  const lines = new Map();
  study.groups.forEach((one, g) => {
    const metric = metricOf(one);
    for (const row of rowsOf(one)) {
      if (!lines.has(row.name)) lines.set(row.name, {name: row.name, label: row.plain, placement: row.placement, rows: {}, ranks: {}});
      lines.get(row.name).rows[g] ??= {row, ...summary(row, metric), part: takesPart(row, metric)};
    }
  });
  for (const line of lines.values()) line.any = Object.values(line.rows)[0].row;
  const whole = [...lines.values()].filter((line) => study.groups.every((_, g) => line.rows[g] && line.rows[g].part));
  study.groups.forEach((one, g) => {
    const metric = metricOf(one);
    const found = metric ? ranks(rounded(whole.map((line) => -study.metrics[metric].sign * line.rows[g].mean))) : [];
    whole.forEach((line, i) => { line.ranks[g] = found[i]; });
  });
  whole.forEach((line) => { line.rank = mean(Object.values(line.ranks)); });
  return [...lines.values()];
}
