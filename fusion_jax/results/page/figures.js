// Figures of the group that is shown: score against cost, learning curves, reliability and risk against coverage.
//
// Several rows are drawn as small panels of one row each, with the baseline in grey behind it: nobody has to tell
// colours apart, nor to find a line in a legend.

function panelsAtFirst() {
  return isNarrow() ? 4 : 12;
}

const COSTS = {
  parameters: {head: 'parameters', of: (row) => row.parameters, text: amount},
  flops: {head: 'FLOPs an epoch', of: (row) => row.flops, text: amount},
  peak: {head: 'peak memory', of: (row) => row.peak_bytes, text: (v) => `${amount(v)}B`},
  seconds: {head: 'seconds of training', of: (row) => row.seconds, text: (v) => String(+v.toPrecision(3))},
  compile: {head: 'seconds of compilation', of: (row) => row.compile_seconds, text: (v) => String(+v.toPrecision(3))},
};

function beatenBy(points, sign) { // marks the points that no other has both a smaller cost and a better score than
  for (const p of points) {
    p.front = !points.some((q) => {
      const gain = sign * (q.score - p.score), same = Math.abs(gain) <= 1e-9 * Math.abs(p.score);
      return (same ? 0 : gain) >= 0 && q.cost <= p.cost && ((!same && gain > 0) || q.cost < p.cost);
    });
  }
  return points;
}

function costPoints(one, metric, cost) {
  const points = rowsOf(one).filter((row) => takesPart(row, metric) && COSTS[cost].of(row) > 0)
    .map((row) => ({row, cost: COSTS[cost].of(row), score: summary(row, metric).mean}));
  return beatenBy(points, study.metrics[metric].sign);
}

function drawCost() {
  const one = group(), metric = metricOf(one);
  const able = metric ? Object.keys(COSTS).filter((c) => costPoints(one, metric, c).length > 1) : [];
  show('cost', able.length > 0);
  if (!able.length) return;
  if (!able.includes(state.cost)) [state.cost] = able;
  const {heading, sign, digits} = study.metrics[metric], {head, text} = COSTS[state.cost];
  const points = costPoints(one, metric, state.cost).sort((a, b) => a.cost - b.cost || sign * (b.score - a.score));
  const front = points.filter((p) => p.front);
  const chooser = el('select', {id: 'cost-kind', onchange: (event) => { state.cost = event.target.value; keepFocus(drawCost); }},
    able.map((c) => el('option', {value: c, selected: c === state.cost}, COSTS[c].head)));
  fill('cost-about', el('label', {class: 'inline'}, 'Cost: ', chooser),
    ` Filled dots are on the front: no other row is both cheaper and better. Of ${count(points.length, 'row')} ${front.length === 1 ? 'one is' : `${front.length} are`}.`);
  const costs = points.map((p) => p.cost), low = Math.min(...costs), high = Math.max(...costs);
  const logarithmic = high / low > 5;
  const x = logarithmic ? [low / (high / low) ** 0.05, high * (high / low) ** 0.05, true] : [...extent(costs), false];
  const narrow = isNarrow(), width = narrow ? 360 : 760, height = narrow ? 300 : 380;
  const chart = frame({
    width, height, x, y: extent(points.map((p) => p.score)), xLabel: head + (logarithmic ? ', logarithmic' : ''), yLabel: heading, left: 56, bottom: 40, yTicks: 5,
    title: `${heading} against ${head}`, xText: tickText,
    desc: `On the front: ${front.map((p) => `${p.row.name}, ${text(p.cost)}, ${fixed(p.score, digits)}`).join('; ')}`,
  });
  const {x: sx, y: sy} = chart;
  const steps = front.flatMap((p, i) => (i ? [[sx(p.cost), sy(front[i - 1].score)], [sx(p.cost), sy(p.score)]] : [[sx(p.cost), sy(p.score)]]));
  chart.root.append(svg('path', {d: pathOf(steps), class: 'front'}));
  const named_ = baselinesOf(one, metric);
  const marks = points.map((p) => {
    const around = named_.includes(p.row) ? svg('circle', {cx: sx(p.cost), cy: sy(p.score), r: 9, class: 'ring'}) : null;
    return svg('g', {class: `point${p.front ? ' sure' : ''}${matches(p.row) ? '' : ' dim'}`}, around,
      svg('circle', {cx: sx(p.cost), cy: sy(p.score), r: p.front ? 5 : 4}),
      svg('title', null, `${plainText(p.row.name)}: ${text(p.cost)}, ${fixed(p.score, digits)}`));
  });
  chart.root.append(...marks, labelsOf(front, sx, sy, chart, narrow ? 18 : 26));
  const readout = el('p', {id: 'cost-readout', class: 'note', role: 'status'}, readoutHint());
  walkPoints(chart.root, marks, points, (p) => `${plainText(p.row.name)}: ${head} ${text(p.cost)}, ${heading} ${fixed(p.score, digits)}${p.front ? ', on the front' : ''}${named_.includes(p.row) ? ', the baseline' : ''}`, readout);
  fill('cost-figure', el('div', {class: 'figure'}, chart.root), readout);
}

function readoutHint() {
  return 'Point at a dot for its name, or reach the figure by Tab and go from dot to dot with the arrow keys. The ring is the baseline.';
}

function tickText(v) {
  for (const [size, unit] of [[1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e3, 'k']]) if (v >= size) return `${+(v / size).toPrecision(3)} ${unit}`;
  return String(+v.toPrecision(3));
}

function labelsOf(front, sx, sy, chart, longest) { // names of the front, above it, where no dot can be
  const taken = [];
  return svg('g', {class: 'names', 'aria-hidden': 'true'}, [...front].reverse().map((p) => {
    const name = plainText(p.row.name), text = name.length > longest ? `${name.slice(0, longest - 1)}…` : name;
    const size = text.length * 6.4, left = sx(p.cost) - size - 8 > chart.left;
    const x0 = left ? sx(p.cost) - 6 - size : sx(p.cost) - 4, y0 = sy(p.score) - 8;
    if (taken.some(([x1, y1, s]) => Math.abs(y1 - y0) < 13 && x0 < x1 + s && x1 < x0 + size)) return null;
    taken.push([x0, y0, size]);
    return svg('text', {x: left ? sx(p.cost) - 6 : x0, y: y0, class: left ? 'end' : ''}, text);
  }));
}

function walkPoints(root, marks, points, describe, readout) { // the dots by keyboard: one stop, then arrow keys
  let at = -1;
  const go = (i) => {
    if (at >= 0) marks[at].classList.remove('here');
    at = (i + points.length) % points.length;
    marks[at].classList.add('here');
    readout.textContent = describe(points[at]);
  };
  build(root, {tabindex: '0', 'aria-describedby': 'cost-readout', onkeydown: (event) => {
    const step = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key];
    if (!step) return;
    event.preventDefault();
    go(at + step);
  }}, []);
  marks.forEach((mark, i) => mark.addEventListener('pointerenter', () => go(i)));
}

function panels(id, rows, draw) { // a panel a row, the first of them unless all are asked for
  const shown = state.whole.has(id) ? rows : rows.slice(0, panelsAtFirst());
  const more = rows.length > shown.length && el('button', {type: 'button', class: 'quiet', id: `${id}-more`,
    onclick: () => { state.whole.add(id); drawFigures(); }}, `Show all ${rows.length} rows`);
  fill(id, el('div', {class: 'panels'}, shown.map((row) => el('figure', {class: 'panel'},
    el('figcaption', null, labelOf(row), ' ', el('span', {class: 'muted'}, row.placement === '-' ? '' : plainText(row.placement))), draw(row)))), more);
}

function inOrder(one, metric) { // rows that the filter leaves, the best first
  const sign = metric ? study.metrics[metric].sign : 1;
  const value = (row) => (metric && Number.isFinite(summary(row, metric).mean) ? sign * summary(row, metric).mean : -Infinity);
  return rowsOf(one).filter((row) => matches(row) && !row.cited).sort((a, b) => value(b) - value(a));
}

function curveOf(row, name) { // mean over the seeds that count, and the band of one deviation, an epoch each
  const {epochs, seeds, [name]: values} = row.facts.curves || {};
  if (!values) return null;
  const kept = values.filter((_, s) => !state.seedsOff.has(seeds[s]));
  const found = epochs.map((_, t) => kept.map((v) => v[t]).filter((v) => v !== null));
  const many = (v) => v.length >= Math.max(1, kept.length / 2); // behind the end of most seeds the mean is of few
  const middle = found.map((v) => (many(v) ? mean(v) : NaN));
  const half = found.map((v) => (many(v) && v.length > 1 ? deviation(v) : 0));
  return {epochs, middle, low: middle.map((m, i) => m - half[i]), high: middle.map((m, i) => m + half[i])};
}

const CURVE_NAMES = {val_loss: 'validation loss', train_loss: 'training loss', val_score: 'selection score'};

function drawCurves() {
  const one = group(), metric = metricOf(one);
  const with_ = rowsOf(one).filter((row) => row.facts.curves);
  show('curves', with_.length > 0);
  if (!with_.length) return;
  const able = Object.keys(CURVE_NAMES).filter((name) => with_.some((row) => row.facts.curves[name]));
  if (!able.includes(state.curve)) [state.curve] = able;
  const named_ = metric ? baselinesOf(one, metric) : [];
  const rows = inOrder(one, metric).filter((row) => curveOf(row, state.curve));
  const all = rows.map((row) => curveOf(row, state.curve));
  const values = all.flatMap((c) => [...c.low, ...c.middle, ...c.high]).filter(Number.isFinite).sort((a, b) => a - b);
  const y = extent([values[Math.floor(0.01 * values.length)], values[Math.ceil(0.99 * values.length) - 1]]);
  const last = Math.max(...all.map((c) => c.epochs.at(-1)), 1);
  const chooser = el('select', {id: 'curve-kind', onchange: (event) => { state.curve = event.target.value; keepFocus(drawCurves); }},
    able.map((name) => el('option', {value: name, selected: name === state.curve}, CURVE_NAMES[name])));
  fill('curves-about', el('label', {class: 'inline'}, 'Curve: ', chooser),
    ` Mean over seeds and one standard deviation, by epoch, the best row first. ${state.curve === 'val_score' && one.task === 'classes' ? 'The score that keeps an epoch: validation rows that are right. ' : ''}${behindText(named_)}`);
  panels('curves-figure', rows, (row) => {
    const curve = curveOf(row, state.curve), base = named_.length ? baselineFor(row, named_) : row, grey = row === base ? null : curveOf(base, state.curve);
    const chart = frame({width: 280, height: 170, x: [0, last], y, yTicks: 3, xTicks: 4, left: 40, bottom: 22,
      title: `${CURVE_NAMES[state.curve]} of ${row.name} by epoch`, desc: `ends at ${fixed(curve.middle.filter(Number.isFinite).at(-1))}`});
    const clip = (v) => Math.min(chart.top + chart.h, Math.max(chart.top, chart.y(v)));
    const xs = (c) => c.epochs.map(chart.x), line = (c) => pathOf(c.epochs.map((e, i) => [chart.x(e), Number.isFinite(c.middle[i]) ? clip(c.middle[i]) : NaN]));
    if (grey) chart.root.append(svg('path', {d: line(grey), class: 'behind'}));
    chart.root.append(svg('path', {d: bandOf(xs(curve), curve.low.map(clip), curve.high.map(clip)), class: 'band'}), svg('path', {d: line(curve), class: 'curve'}));
    return chart.root;
  });
}

function behindText(named_) {
  if (!named_.length) return '';
  return `Grey behind each: the baseline, ${plainText(named_.length > 1 ? `${named_[0].plain} of the same placement` : named_[0].name)}.`;
}

function drawCalibration() {
  const one = group(), metric = metricOf(one);
  const rows = inOrder(one, metric).filter((row) => row.bins);
  show('calibration', rowsOf(one).some((row) => row.bins));
  if (!rows.length) return fill('calibration-figure');
  const named_ = metric ? baselinesOf(one, metric).filter((row) => row.bins) : [];
  fill('calibration-about', 'Left of each: how often a prediction is right by the probability it is given (dots by their share of rows, on the line where the two agree). ',
    'Right: the error rate left when only the most confident rows are kept', rows.some((r) => r.risks.aurc_uncertainty) ? ' (dashed: by the uncertainty the model states)' : '',
    `. ${behindText(named_)} All seeds together; leaving a seed out does not change these two figures.`);
  const risky = Math.max(0.02, ...rows.flatMap((row) => Object.values(row.risks).flat()).filter(Number.isFinite));
  panels('calibration-figure', rows, (row) => {
    const grey = named_.length ? baselineFor(row, named_) : null;
    return el('div', {class: 'pair'}, reliabilityChart(row, grey), riskChart(row, grey, risky));
  });
}

function reliabilityChart(row, grey) {
  const chart = frame({width: 150, height: 150, x: [0, 1], y: [0, 1], yTicks: 2, xTicks: 2, left: 28, bottom: 20, right: 9,
    title: `Reliability of ${row.name}`, desc: `expected calibration error ${fixed(summary(row, 'ece').mean)}`});
  const points = ([counts, confidence, accuracy]) => counts.map((n, i) => [chart.x(confidence[i] ?? NaN), chart.y(accuracy[i] ?? NaN), n])
    .filter(([x, y, n]) => n >= 0.005 * counts.reduce((a, b) => a + b, 0) && Number.isFinite(x) && Number.isFinite(y));
  const total = row.bins[0].reduce((a, b) => a + b, 0);
  chart.root.append(svg('line', {x1: chart.x(0), y1: chart.y(0), x2: chart.x(1), y2: chart.y(1), class: 'zero'}));
  if (grey && grey !== row) chart.root.append(svg('path', {d: pathOf(points(grey.bins)), class: 'behind'}));
  chart.root.append(svg('path', {d: pathOf(points(row.bins)), class: 'curve'}),
    ...points(row.bins).map(([x, y, n]) => svg('circle', {cx: x, cy: y, r: 1.5 + 4 * Math.sqrt(n / total), class: 'bin'})));
  return chart.root;
}

function riskChart(row, grey, highest) {
  const chart = frame({width: 150, height: 150, x: [0, 1], y: [0, highest * 1.05], yTicks: 2, xTicks: 2, left: 34, bottom: 20, right: 9,
    title: `Error rate of ${row.name} by coverage`, desc: `area ${fixed(summary(row, 'aurc').mean, 4)}`});
  const line = (risk) => pathOf(risk.map((v, i) => [chart.x((3 * i + 1) / 100), chart.y(v ?? NaN)]));
  if (grey && grey !== row && grey.risks.aurc) chart.root.append(svg('path', {d: line(grey.risks.aurc), class: 'behind'}));
  chart.root.append(svg('path', {d: line(row.risks.aurc), class: 'curve'}));
  if (row.risks.aurc_uncertainty) chart.root.append(svg('path', {d: line(row.risks.aurc_uncertainty), class: 'curve dashed'}));
  return chart.root;
}

function drawFigures() {
  keepFocus(() => { drawCost(); drawCurves(); drawCalibration(); });
}
