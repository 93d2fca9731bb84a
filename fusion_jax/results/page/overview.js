// The grid of all data sets, the table of all metrics and costs of one, and how the numbers come about.

function spread({mean: value, sd}, digits, bold) {
  return [bold ? el('b', null, fixed(value, digits)) : fixed(value, digits), Number.isFinite(sd) && el('span', {class: 'sd'}, `± ${fixed(sd, digits)}`)];
}

function drawGrid() {
  const several = study.groups.length > 1;
  show('grid', several);
  if (!several) return;
  const lines = grid().filter((line) => matches(line.any));
  const found = study.groups.map((one) => {
    const metric = metricOf(one);
    return metric ? new Map(compared(one, metric).lines.map((line) => [line.row.key, line])) : new Map();
  });
  const tops = study.groups.map((one) => (metricOf(one) ? best(one, metricOf(one)) : -1));
  const columns = study.groups.map((one, g) => {
    const metric = metricOf(one), {heading, digits, sign} = study.metrics[metric] || {heading: '', digits: 3, sign: 1};
    return {key: `data${g}`, head: one.name, title: `${one.name}: ${heading}`, name: `${one.name}, ${heading}`, down: sign > 0,
      value: (line) => (line.rows[g] ? line.rows[g].mean : NaN),
      cell: (line) => (line.rows[g] ? [markOf(found[g].get(line.rows[g].row.key) || {}), spread(line.rows[g], digits, line.rows[g].row.number === tops[g])] : DASH)};
  });
  const metrics_ = [...new Set(study.groups.map((one) => (metricOf(one) ? study.metrics[metricOf(one)].heading : '')).filter(Boolean))];
  const base = study.groups.flatMap((one) => (metricOf(one) ? baselinesOf(one, metricOf(one)) : []));
  fill('grid-about', `${list(metrics_)}, mean ± standard deviation over seeds. Bold: the best mean of its column. `, 'Marks: ', el('span', {class: 'mark'}, '▲'), ' better and ',
    el('span', {class: 'mark worse'}, '▼'), ` worse than the baseline${base.length ? `, ${plainText(base[0].plain)},` : ''} after Holm’s correction over the data set. Rank: the mean over the data sets, among rows that all of them have.${study.across ? ` ${plainText(study.across)}` : ''}`);
  drawTable({id: 'grid-table', caption: 'Variants by data set', rows: lines, first: 'variant', order: {key: 'rank', down: false}, tools: true,
    columns: [
      {key: 'variant', head: 'variant', text: true, class: 'sticky', value: (line) => line.label, cell: (line) => [named(line.label), placementBelow(line)]},
      {key: 'placement', head: 'placement', text: true, class: 'wide-only', value: (line) => line.placement},
      {key: 'rank', head: 'rank', value: (line) => line.rank, cell: (line) => fixed(line.rank, 1)},
      ...columns,
    ]});
}

function drawLong() {
  const one = group(), names = metricsOf(one), rows = rowsOf(one).filter(matches), first = metricOf(one);
  show('table', rowsOf(one).length > 0);
  const tops = Object.fromEntries(names.map((m) => [m, best(one, m)]));
  const front = new Set(first ? Object.keys(COSTS).flatMap((c) => costPoints(one, first, c).filter((p) => p.front).map((p) => `${c} ${p.row.number}`)) : []);
  const metricColumns = names.map((m) => {
    const {heading, digits, sign} = study.metrics[m];
    return {key: `metric-${m}`, head: heading, name: heading, down: sign > 0, title: sign > 0 ? 'more is better' : 'less is better',
      value: (row) => summary(row, m).mean, cell: (row) => spread(summary(row, m), digits, tops[m] === row.number),
      parts: [{name: `${m} mean`, value: (row) => summary(row, m).mean}, {name: `${m} sd`, value: (row) => summary(row, m).sd}]};
  });
  const costColumns = Object.entries(COSTS).filter(([, cost]) => rows.some((row) => Number.isFinite(cost.of(row)))).map(([key, {head, of, text}]) => ({
    key: `cost-${key}`, head, value: (row) => of(row) ?? NaN,
    cell: (row) => (Number.isFinite(of(row)) ? [front.has(`${key} ${row.number}`) && el('span', {class: 'mark', title: 'no other row is both cheaper in this and better'}, '◆ '), text(of(row))] : DASH)}));
  fill('table-about', `Mean ± standard deviation over seeds, on test rows of ${plainText(one.name)}. Bold: the best mean of its column.${costColumns.length && first ? ` ◆: no other row is both cheaper in this cost and better in ${study.metrics[first].heading}.` : ''}`);
  const state_ = (row) => (row.error ? plainText(row.error.split('\n')[0]) : row.cited ? plainText(row.source) : '');
  const anything = rows.some((row) => state_(row));
  drawTable({id: 'long-table', caption: `All metrics and costs on ${plainText(one.name)}`, rows, first: 'variant', tools: true, order: {key: '', down: false},
    rowClass: (row) => (row.cited ? 'cited' : !Object.keys(row.values).length ? 'out' : baselinesOf(one, first).includes(row) ? 'baseline' : null),
    columns: [
      {key: 'variant', head: 'variant', text: true, class: 'sticky', value: (row) => row.label, cell: (row) => [labelOf(row), placementBelow(row)]},
      {key: 'placement', head: 'placement', text: true, class: 'wide-only', value: (row) => row.placement},
      ...metricColumns,
      {key: 'seeds', head: 'seeds', value: (row) => (row.cited ? NaN : row.seeds.filter((s) => !state.seedsOff.has(s)).length), cell: (row) => (row.cited ? DASH : String(row.seeds.filter((s) => !state.seedsOff.has(s)).length))},
      ...costColumns,
      ...(anything ? [{key: 'state', head: 'note', text: true, value: state_, cell: (row) => el('span', {class: 'small'}, state_(row))}] : []),
    ]});
  fill('table-note', [...new Set(names.map((m) => study.metrics[m].note).filter(Boolean))].map((note) => el('p', null, plainText(note))));
}

function drawMethod() {
  fill('method-text',
    el('p', null, 'The unit of replication is the seed with its split, never the node. Differences are paired by seed. Where every seed draws its own split the variance of their mean is s² (1/n + test rows / training rows), Nadeau and Bengio’s correction for splits that overlap; with more test than training rows s² (1/n + training rows / test rows) and the variance over test rows; where test rows are fixed s² / n and the variance over test rows, with Satterthwaite’s degrees of freedom. Of a metric between 0 and 1 s is at least one test row, and of fixed test rows s² and what they add together are its square; of an AUC and other shares of pairs, which move in smaller steps, four by the square of the rows. The column “test” says which. Intervals are Student’s, 95 %, each by itself; marks are p below .05 after Holm’s correction over all comparisons on a data set.'),
    el('p', null, 'Choosing another baseline or metric, leaving out a seed or a row: means, deviations, differences, intervals, p, Holm, both exact tests, effects, ranks, the cost front and the learning curves are calculated anew in this page. The first sentence, the claims, and the two calibration figures are of the whole study, as it was stored.'),
    el('p', null, 'This file loads nothing and sends nothing. Choices made here are for looking: what a study set out to compare is in its claims.'));
}
