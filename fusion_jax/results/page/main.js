// The page: what stands where, what the controls change, and what a running study adds.

function drawAnswer() {
  document.title = `${plainText(study.title)} – fusion_jax`;
  fill('title', plainText(study.title));
  fill('sentence', named(withMinus(study.sentence))).classList.toggle('long', study.sentence.length > 130);
  const run = study.rows.filter((row) => !row.cited).length, seeds = study.groups.map((one) => seedsOf(one).length);
  const most = Math.max(0, ...seeds);
  fill('facts', [count(run, 'row'), count(new Set(study.groups.map((one) => one.data)).size, 'data set'), count(most, 'seed'),
    study.note && plainText(study.note)].filter(Boolean).join(' · '));
  drawStatus();
  show('claims', study.claims.length > 0);
  const signs = {holds: '✓ holds', fails: '✕ fails', undecided: '? undecided'};
  fill('claims', el('h2', null, study.claims.some((claim) => claim.late) ? 'Claims' : 'Claims, written down before the first epoch'), el('ul', {class: 'claims'}, study.claims.map((claim) => el('li', null,
    el('span', {class: `verdict ${claim.verdict}`}, signs[claim.verdict] || plainText(claim.verdict)), named(claim.text),
    el('span', {class: 'evidence'}, plainText(withMinus(claim.evidence)), claim.more_seeds ? `; about ${count(claim.more_seeds, 'more seed')} would decide it` : '', claim.late ? `; written when ${count(claim.late, 'seed')} had finished` : '')))));
}

function drawStatus(said) {
  const {done, failed, running, waiting} = study.status, every = done + failed + running + waiting;
  const parts = [`${done} of ${count(every, 'cell')} finished`, running && `${running} running`, failed && `${failed} failed`, waiting && `${waiting} waiting`];
  const text = every === done ? '' : parts.filter(Boolean).join(', ');
  fill('status', [said, text].filter(Boolean).join(' · '));
  show('progress', every > 0 && done < every);
  fill('progress', Object.entries({done, running, failed}).filter(([, n]) => n > 0).map(([name, n]) => {
    const part = el('span', {class: name});
    part.style.width = `${(100 * n) / every}%`;
    return part;
  })).setAttribute('aria-hidden', 'true');
}

function drawContents() {
  const there = [...document.querySelectorAll('main > section[data-title]')].filter((section) => !section.hidden);
  fill('contents', there.map((section) => el('a', {href: `#${section.id}`}, section.dataset.title)));
}

function options(id, values, chosen) {
  fill(id, values.map(([value, text]) => el('option', {value, selected: value === chosen}, plainText(text))));
}

function drawControls() {
  const one = group(), metric = metricOf(one);
  show('group-field', study.groups.length > 1);
  options('group', study.groups.map((g, i) => [String(i), g.name]), String(state.group));
  options('metric', metricsOf(one).map((m) => [m, study.metrics[m].heading]), metric);
  const able = rowsOf(one).filter((row) => !row.cited && [...bySeed(row, metric).values()].some(Number.isFinite));
  const times = (row) => able.filter((other) => other.plain === row.plain).length;
  const several = [...new Set(able.filter((row) => times(row) > 1).map((row) => row.plain))];
  const named_ = [...several.map((name) => [`name:${name}`, `${name}, by placement`]), ...able.map((row) => [`row:${row.key}`, row.name])];
  const first = baselinesOf(one, metric);
  const chosen = named_.some(([value]) => value === state.baseline) ? state.baseline : first.length > 1 ? `name:${first[0].plain}` : first.length ? `row:${first[0].key}` : '';
  options('baseline', named_, chosen);
  const seeds = seedsOf(one);
  show('seeds', seeds.length > 0);
  const said = `Seeds, ${seeds.filter((s) => !state.seedsOff.has(s)).length} of ${seeds.length}`;
  fill('seeds', el('legend', {class: 'hidden'}, said), el('span', {class: 'caption', 'aria-hidden': 'true'}, said), el('div', {class: 'chips'}, seeds.map(seedBox)));
}

function seedBox(seed) {
  const change = (event) => {
    if (event.target.checked) state.seedsOff.delete(seed);
    else state.seedsOff.add(seed);
    draw();
  };
  return el('label', null,
    el('input', {type: 'checkbox', id: `seed-${seed}`, checked: !state.seedsOff.has(seed), 'aria-label': `seed ${seed}`, onchange: change}),
    el('span', {'aria-hidden': 'true'}, String(seed)));
}

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
  fill('verdict', able.length ? `Of ${count(able.length, 'row')} on ${plainText(one.name)}, ${marks} than ${base} in ${heading}, after Holm’s correction over ${count(family, 'comparison')} (${fewest < seeds ? `${fewest} to ` : ''}${count(seeds, 'seed')}).` : 'Nothing to compare: no two rows have values of common seeds.');
  const methods = [...new Set(able.map((line) => line.method))];
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
    el('p', null, 'The unit of replication is the seed with its split, never the node. Differences are paired by seed. Where every seed draws its own split the variance of their mean is s² (1/n + test rows / training rows), Nadeau and Bengio’s correction for splits that overlap; with more test than training rows s² (1/n + training rows / test rows) and the variance over test rows; where test rows are fixed s² / n and the variance over test rows, with Satterthwaite’s degrees of freedom. The column “test” says which. Intervals are Student’s, 95 %, each by itself; marks are p below .05 after Holm’s correction over all comparisons on a data set.'),
    el('p', null, 'Choosing another baseline or metric, leaving out a seed or a row: means, deviations, differences, intervals, p, Holm, both exact tests, effects, ranks, the cost front and the learning curves are calculated anew in this page. The first sentence, the claims, and the two calibration figures are of the whole study, as it was stored.'),
    el('p', null, 'This file loads nothing and sends nothing. Choices made here are for looking: what a study set out to compare is in its claims.'));
}

function draw() {
  if (!study.groups.length) return;
  keepFocus(() => {
    drawControls();
    drawGrid();
    drawCompare();
    drawLong();
  });
  drawFigures();
}

function drawAll() {
  keepFocus(() => {
    drawAnswer();
    show('controls', study.groups.length > 0);
    drawCells();
    drawErrors();
    drawEnvironment();
    drawMethod();
  });
  draw();
  drawContents();
}

function chooseTheme(theme) {
  const next = {auto: 'light', light: 'dark', dark: 'auto'};
  const button = document.getElementById('theme');
  if (theme === 'auto') document.documentElement.removeAttribute('data-theme');
  else document.documentElement.dataset.theme = theme;
  button.textContent = `Theme: ${theme}`;
  button.onclick = () => chooseTheme(next[theme]);
}

function listen() {
  const on = (id, event, change) => document.getElementById(id).addEventListener(event, (e) => { change(e.target.value); draw(); });
  on('group', 'change', (value) => { state.group = Number(value); });
  on('metric', 'change', (value) => { state.metric = value; });
  on('baseline', 'change', (value) => { state.baseline = value; });
  let wait = 0;
  document.getElementById('filter').addEventListener('input', (event) => {
    state.filter = event.target.value.trim();
    clearTimeout(wait);
    wait = setTimeout(() => { draw(); keepFocus(drawCells); }, 120);
  });
  const form = document.getElementById('controls');
  form.addEventListener('submit', (event) => event.preventDefault());
  form.addEventListener('reset', (event) => {
    event.preventDefault();
    document.getElementById('filter').value = '';
    Object.assign(state, {metric: '', baseline: '', filter: ''});
    state.seedsOff.clear();
    state.rowsOff.clear();
    draw();
    drawCells();
  });
  window.matchMedia(NARROW).addEventListener('change', draw);
}

const tags = {};

async function ask(name) { // null where nothing has changed since it was asked for last
  const answer = await fetch(name, {cache: 'no-store', headers: tags[name] ? {'If-None-Match': tags[name]} : {}});
  if (answer.status === 304) return null;
  if (answer.status !== 200) throw new Error(answer.status);
  tags[name] = answer.headers.get('ETag');
  return answer.json();
}

function takeStates({status, cells}) { // what is cheap to know: states and epochs
  study.status = status;
  for (const [id, now] of Object.entries(cells)) {
    if (!study.cells[id]) continue;
    for (const name of ['error', 'traceback', 'progress']) delete study.cells[id][name];
    Object.assign(study.cells[id], now);
  }
  keepFocus(() => { drawStatus(); drawCells(); drawErrors(); });
}

async function follow() { // a served page asks how far the study is, and for its results when there are new ones
  for (let lost = 0; ;) {
    await new Promise((wake) => setTimeout(wake, document.hidden ? 10000 : lost ? 5000 : 2000));
    try {
      const now = await ask('status.json');
      if (now) takeStates(now);
      if (now) study.latest = now.results;
      const data = study.latest && study.latest !== study.results ? await ask('data.json') : null;
      if (data) {
        load({...data, latest: study.latest});
        drawAll();
      }
      if (lost) drawStatus();
      lost = 0;
    } catch (error) {
      lost += 1;
      if (lost > 1) drawStatus('not reached any more, this is what was shown last');
    }
  }
}

load(JSON.parse(document.getElementById('data').textContent));
chooseTheme('auto');
listen();
drawAll();
if (document.body.dataset.served === 'true') follow();
