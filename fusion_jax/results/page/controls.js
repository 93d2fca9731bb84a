// What is compared: data set, metric, baseline, filter, seeds.

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
  on('baseline', 'change', (value) => {
    state.baseline = value;
    for (const row of study.rows) if (isMeant(row, value)) state.rowsOff.delete(row.key); // it takes part again
  });
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
