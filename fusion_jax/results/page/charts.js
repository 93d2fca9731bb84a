// What charts are made of: scales, ticks, axes, and the dot with its interval that stands in a row of a table.

function ticksOf(low, high, wanted = 5) { // round numbers within the range
  const raw = (high - low) / wanted, size = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((f) => f * size).find((s) => s >= raw * 0.999) || raw;
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) found.push(i * step);
  return {ticks: found, step, digits: Math.max(0, Math.min(12, -Math.floor(Math.log10(step) + 1e-9)))};
}

function logTicks(low, high) {
  const found = [];
  const factors = high / low > 1e3 ? [1] : high / low > 30 ? [1, 3] : [1, 2, 5];
  for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e++) {
    for (const f of factors) if (f * 10 ** e >= low && f * 10 ** e <= high) found.push(f * 10 ** e);
  }
  return found;
}

function scaleOf(low, high, from, to, logarithmic) {
  const f = logarithmic ? Math.log : (v) => v;
  return (v) => from + ((f(v) - f(low)) / (f(high) - f(low) || 1)) * (to - from);
}

function extent(values, share = 0.06) { // the finite ones, with some air around them
  const known = values.filter(Number.isFinite);
  if (!known.length) return [0, 1];
  const low = Math.min(...known), high = Math.max(...known), air = (high - low || Math.abs(high) || 1) * share;
  return [low - air, high + air];
}

// A frame with axes: {root, x, y, w, h}. Lines behind the data are the ticks of y; x has its numbers below.
function frame({width, height, x, y, xLabel, yLabel, title, desc, left = 44, top = 8, right = 10, bottom = 34, xTicks, yTicks = 4, xText}) {
  const w = width - left - right, h = height - top - bottom;
  const sx = scaleOf(x[0], x[1], left, left + w, x[2]), sy = scaleOf(y[0], y[1], top + h, top);
  const {ticks, digits} = ticksOf(y[0], y[1], yTicks);
  const across = x[2] ? {ticks: logTicks(x[0], x[1]), digits: 0} : ticksOf(x[0], x[1], xTicks || 4);
  const root = svg('svg', {viewBox: `0 0 ${width} ${height}`, role: 'img', class: 'chart'},
    svg('title', null, plainText(title)), desc && svg('desc', null, plainText(desc)),
    svg('g', {class: 'axis', 'aria-hidden': 'true'},
      ticks.map((v) => [svg('line', {x1: left, x2: left + w, y1: sy(v), y2: sy(v), class: 'rule'}),
        svg('text', {x: left - 6, y: sy(v), class: 'end middle'}, fixed(v, digits))]),
      across.ticks.map((v) => [svg('line', {x1: sx(v), x2: sx(v), y1: top + h, y2: top + h + 4, class: 'tick'}),
        svg('text', {x: sx(v), y: top + h + 15, class: 'centre'}, xText ? xText(v) : fixed(v, across.digits))]),
      svg('line', {x1: left, x2: left + w, y1: top + h, y2: top + h, class: 'tick'}),
      xLabel && svg('text', {x: left + w / 2, y: height - 3, class: 'centre label'}, xLabel),
      yLabel && svg('text', {transform: `translate(10 ${top + h / 2}) rotate(-90)`, class: 'centre label'}, yLabel)));
  return {root, x: sx, y: sy, left, top, w, h};
}

function pathOf(points) { // "M x y L x y", broken where something is missing
  let broken = true;
  return points.map(([x, y]) => {
    if (!Number.isFinite(x) || !Number.isFinite(y)) { broken = true; return ''; }
    const command = `${broken ? 'M' : 'L'}${x.toFixed(1)} ${y.toFixed(1)}`;
    broken = false;
    return command;
  }).join('');
}

function bandOf(xs, lows, highs) {
  const kept = xs.map((x, i) => [x, lows[i], highs[i]]).filter((p) => p.every(Number.isFinite));
  return kept.length < 2 ? '' : `${pathOf(kept.map(([x, low]) => [x, low]))}${pathOf(kept.map(([x,, high]) => [x, high]).reverse()).replace('M', 'L')}Z`;
}

const FOREST = {get width() { return isNarrow() ? 150 : 260; }, height: 26, air: 12};

// The range of a column of intervals: that of most rows, so that one that is far away does not hide the others.
function forestRange(intervals) {
  const known = intervals.filter(([low, high]) => Number.isFinite(low) && Number.isFinite(high));
  if (!known.length) return [-1, 1];
  const lows = known.map(([low]) => low).sort((a, b) => a - b), highs = known.map(([, high]) => high).sort((a, b) => a - b);
  const at = (sortedValues, q) => sortedValues[Math.min(sortedValues.length - 1, Math.max(0, Math.round(q * (sortedValues.length - 1))))];
  const middle = at(highs, 0.5) - at(lows, 0.5);
  const reach = 2.5 * Math.max(at(highs, 0.8) - at(lows, 0.2), middle);
  const low = Math.max(lows[0], at(lows, 0.5) - reach), high = Math.min(highs.at(-1), at(highs, 0.5) + reach);
  return extent([Math.min(low, 0), Math.max(high, 0)], 0.03);
}

function forestScale(range) {
  return scaleOf(range[0], range[1], FOREST.air, FOREST.width - FOREST.air);
}

function forestCell(range, row, text) { // one row: its interval as a line, its difference as a dot
  const x = forestScale(range), {width, height, air} = FOREST, y = height / 2;
  const inside = (v) => Math.min(width - air, Math.max(air, x(v)));
  const parts = [svg('line', {x1: x(0), x2: x(0), y1: -height, y2: 2 * height, class: 'zero'})]; // rows may be higher
  if (row.isBaseline) parts.push(svg('path', {d: `M${x(0)} ${y - 5}l5 5l-5 5l-5 -5z`, class: 'baseline'}));
  else if (Number.isFinite(row.difference)) {
    const beyond = row.difference < range[0] ? -1 : row.difference > range[1] ? 1 : 0;
    if (Number.isFinite(row.low)) {
      parts.push(svg('line', {x1: inside(row.low), x2: inside(row.high), y1: y, y2: y, class: 'interval'}));
      if (row.low < range[0]) parts.push(svg('path', {d: `M${air + 5} ${y - 4}l-5 4l5 4`, class: 'beyond'}));
      if (row.high > range[1]) parts.push(svg('path', {d: `M${width - air - 5} ${y - 4}l5 4l-5 4`, class: 'beyond'}));
    }
    if (!beyond) parts.push(svg('circle', {cx: x(row.difference), cy: y, r: 4, class: row.mark ? 'dot sure' : 'dot'}));
    else if (!Number.isFinite(row.low)) parts.push(svg('path', {d: `M${beyond > 0 ? width - air : air} ${y - 4}l${5 * beyond} 4l${-5 * beyond} 4`, class: 'beyond'}));
  }
  return svg('svg', {width, height, class: 'forest', role: 'img'}, svg('title', null, text), parts);
}

function forestAxis(range, sign) { // the head of the column
  const x = forestScale(range), {width} = FOREST;
  const {ticks, digits} = ticksOf(range[0], range[1], isNarrow() ? 4 : 5);
  const right = sign > 0;
  return svg('svg', {width, height: 34, class: 'forest', role: 'img'},
    svg('title', null, `Difference to the baseline with its 95 % interval, from ${fixed(range[0], digits)} to ${fixed(range[1], digits)}; better is to the ${right ? 'right' : 'left'}`),
    svg('text', {x: right ? width - 2 : 2, y: 11, class: right ? 'end better' : 'better'}, right ? 'better →' : '← better'),
    svg('text', {x: right ? 2 : width - 2, y: 11, class: right ? 'better' : 'end better'}, right ? '← worse' : 'worse →'),
    ticks.filter((v) => x(v) > 14 && x(v) < width - 12).map((v) => svg('text', {x: x(v), y: 30, class: 'centre'}, signed(v, digits))));
}
