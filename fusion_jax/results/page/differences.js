// The table of differences to the baseline, with its intervals drawn.

function stateOf(row) { // of a row without values what became of it
  if (row.cited || Object.keys(row.values).length) return '';
  const cell = study.cells[row.cell];
  return cell ? STATES[cell.state][1] : 'no result';
}

function markOf(line) {
  if (line.mark > 0) return [el('span', {class: 'mark better', 'aria-hidden': 'true'}, '▲'), el('span', {class: 'hidden'}, 'better')];
  if (line.mark < 0) return [el('span', {class: 'mark worse', 'aria-hidden': 'true'}, '▼'), el('span', {class: 'hidden'}, 'worse')];
  return [];
}

function compareColumns(metric, named_, range) {
  const {digits, sign, heading} = study.metrics[metric];
  const far = (line) => line.difference !== undefined;
  const of = (line, key) => (key in LATER ? later(line, key) : line[key]);
  const only = (key, text) => ({value: (line) => (far(line) ? of(line, key) : NaN), cell: (line) => (far(line) ? text(of(line, key), line) : '')});
  const interval = (line) => (Number.isFinite(line.low) ? `${signed(line.low, digits)} to ${signed(line.high, digits)}` : DASH);
  const toggle = (line) => !line.row.cited && Number.isFinite(line.mean) && el('input', {
    type: 'checkbox', class: 'tick', id: `part-${line.row.key}`, checked: !state.rowsOff.has(line.row.key), disabled: named_.includes(line.row),
    'aria-label': `compare ${plainText(line.row.name)}`, title: named_.includes(line.row) ? 'the baseline' : 'leave this row out of the comparisons, and out of Holm’s correction',
    onchange: (event) => { if (event.target.checked) state.rowsOff.delete(line.row.key); else state.rowsOff.add(line.row.key); draw(); }});
  const describe = (line) => (line.isBaseline ? `${plainText(line.row.name)}: the baseline`
    : far(line) ? `${plainText(line.row.name)} ${signed(line.difference, digits)}, ${interval(line)}, against ${plainText(line.base.name)}` : plainText(line.row.name));
  const found = [
    {key: 'variant', head: 'variant', text: true, class: 'sticky', value: (line) => line.row.label,
      cell: (line) => el('span', {class: 'row'}, toggle(line), el('span', null, labelOf(line.row), placementBelow(line.row)))},
    {key: 'placement', head: 'placement', text: true, class: 'wide-only', value: (line) => line.row.placement},
    {key: 'mean', head: heading, down: sign > 0, title: 'mean ± standard deviation over seeds', value: (line) => line.mean, cell: (line) => spread(line, digits, line.top),
      parts: [{name: `${metric} mean`, value: (line) => line.mean}, {name: `${metric} sd`, value: (line) => line.sd}, {name: 'seeds', value: (line) => line.n}]},
    {key: 'plot', head: '', private: true, class: 'plot', plain: () => forestAxis(range, sign), value: () => null, cell: (line) => forestCell(range, line, describe(line))},
    {key: 'difference', head: 'difference', down: sign > 0, title: 'to the baseline, mean over the seeds that both have',
      value: (line) => (line.isBaseline ? 0 : far(line) ? line.difference : NaN), cell: (line) => (line.isBaseline ? el('span', {class: 'small'}, 'baseline') : far(line) ? [markOf(line), signed(line.difference, digits)] : el('span', {class: 'small'}, stateOf(line.row) || DASH))},
    {key: 'interval', head: '95 % interval', title: 'of the difference, not corrected for the number of comparisons', ...only('low', (_, line) => interval(line)),
      parts: [{name: 'low', value: (line) => line.low}, {name: 'high', value: (line) => line.high}]},
    {key: 'p', head: 'p', title: 'two-sided, of no difference: the test of the interval', ...only('p', probability)},
    {key: 'adjusted', head: 'Holm', title: 'p after Holm’s correction over all comparisons on the data set', ...only('adjusted', probability)},
    {key: 'effect', class: 'screen-only', head: 'd_z', down: true, title: 'effect size: the mean by the standard deviation of the paired differences', ...only('effect', (v) => signed(v, 2))},
    {key: 'improvement', class: 'screen-only', head: 'better in', down: true, title: 'share of the seeds in which the row is better, ties half', ...only('improvement', (v, line) => (Number.isFinite(v) ? `${+(v * line.seeds.length).toFixed(1)} of ${line.seeds.length}` : DASH))},
    {key: 'wilcoxon', class: 'screen-only', head: 'signed-rank p', title: 'Wilcoxon’s exact test over seeds, as if they were independent', ...only('wilcoxon', probability)},
    {key: 'permutation', class: 'screen-only', head: 'sign-flip p', title: 'exact permutation test over seeds, as if they were independent', ...only('permutation', probability)},
    {key: 'needed', class: 'screen-only', head: 'seeds for 80 %', title: 'seeds with which this test would find the observed effect in 80 % of studies; – where no number is enough', ...only('needed', amount)},
    {key: 'method', class: 'screen-only', head: 'test', text: true, value: (line) => line.method || line.row.source, cell: (line) => el('span', {class: 'small'}, plainText(line.method || line.row.source))},
  ];
  const [variant, placement, value, ...rest] = found;
  return isNarrow() ? [variant, placement, ...rest.slice(0, 2), value, ...rest.slice(2)] : found;
}

function drawCompare() {
  const one = group(), metric = metricOf(one);
  show('compare', Boolean(metric));
  if (!metric) return;
  const {named: named_, lines, family} = compared(one, metric), {heading} = study.metrics[metric];
  const top = best(one, metric), able = lines.filter((line) => line.difference !== undefined);
  for (const line of lines) line.top = line.row.number === top;
  const shown = lines.filter((line) => matches(line.row));
  const range = forestRange(able.filter((line) => matches(line.row)).map((line) => (Number.isFinite(line.low) ? [line.low, line.high] : [line.difference, line.difference])));
  const better = able.filter((line) => line.mark > 0).length, worse = able.filter((line) => line.mark < 0).length;
  const base = named_.length > 1 ? `${plainText(named_[0].plain)} (same placement)` : named_.length ? plainText(named_[0].name) : '';
  const numbers = able.map((line) => line.seeds.length), seeds = Math.max(0, ...numbers), fewest = Math.min(...numbers);
  const marks = better + worse ? [better && `${better} ${better === 1 ? 'is' : 'are'} better`, worse && `${worse} ${worse === 1 ? 'is' : 'are'} worse`].filter(Boolean).join(' and ') : 'none is better or worse';
  fill('verdict', able.length ? `Of ${count(able.length, 'row')} on ${plainText(one.name)}, ${marks} than ${base} in ${heading}, after Holm’s correction over ${count(family, 'comparison')} (${fewest < seeds ? `${fewest} to ` : ''}${count(seeds, 'seed')}).` : `Nothing to compare: ${named_.length ? 'no other row has a value' : `the baseline has no value of ${heading}`}.`);
  const every = new Set(able.map((line) => line.method)), plain = (method) => method.replace(FLOOR, '');
  const both = new Set([...every].filter((method) => method.includes(FLOOR) && every.has(plain(method))).map(plain)); // told as one
  const methods = [...every].filter((method) => !both.has(method)).map((method) => (both.has(plain(method)) ? method.replace(FLOOR, `${FLOOR} in some`) : method));
  const left = study.rows.filter((row) => state.rowsOff.has(row.key)).length, off = [...state.seedsOff].filter((s) => seedsOf(one).includes(s));
  const partly = (off.length > 0 || study.looks.plan) && one.by_row[metric] && able.some((line) => line.method.includes('by test row') && !(line.row.influence || {})[metric]);
  fill('compare-note', [
    methods.length && `Test: ${list(methods)}. Filled dots differ from the baseline after the correction.`, seedsNote(seeds),
    off.length && `Without seed ${list(off.map(String))}.`, left && `${count(left, 'row')} left out.`,
    partly && 'The part of the interval that comes from the test rows is of all seeds.',
    seeds > EXACT && `The signed-rank and the sign-flip test are calculated here for up to ${EXACT} seeds.`,
  ].filter(Boolean).join(' '));
  drawTable({id: 'compare-table', caption: `Differences to ${base || 'the baseline'} in ${heading} on ${plainText(one.name)}`, rows: shown, first: 'variant', tools: true,
    order: {key: 'difference', down: study.metrics[metric].sign > 0}, columns: compareColumns(metric, named_, range),
    rowClass: (line) => (line.row.cited ? 'cited' : state.rowsOff.has(line.row.key) ? 'out' : named_.includes(line.row) ? 'baseline' : null)});
}

function seedsNote(n) { // what so few seeds cannot show
  if (n > 5 || n < 1) return '';
  const words = ['', 'one seed', 'two seeds', 'three seeds', 'four seeds', 'five seeds'];
  return n < 2 ? 'With one seed no difference can be tested.' : `With ${words[n]} no signed-rank test can be below ${String(2 / 2 ** n).replace(/^0/, '')}.`;
}
