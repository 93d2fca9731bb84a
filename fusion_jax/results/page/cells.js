// Cells, errors and environments: what each row was made by.

const STATES = {done: ['●', 'finished'], failed: ['✕', 'failed'], running: ['◐', 'running'], waiting: ['○', 'not run yet']};
function valueText(value) {
  return plainText(typeof value === 'string' ? value : JSON.stringify(value));
}

function definitions(pairs, label) {
  return el('dl', {class: 'pairs', 'aria-label': label}, pairs.map(([key, value]) => el('div', null, el('dt', null, plainText(key)), el('dd', null, valueText(value)))));
}

function cellBody(id, cell) { // made when it is opened
  const row = study.rows.find((r) => r.cell === id), config = {...study.common, ...cell.config};
  const costs = [...Object.values(COSTS).map(({head, of}) => [head, row && of(row)]), ['width D', cell.dim], ['best epoch by seed', cell.best_epoch],
    ['splits', cell.split_rule]].filter(([, v]) => v !== undefined && v !== null && (!Array.isArray(v) || v.length));
  return [
    cell.error && errorBody(cell), cell.damaged && el('p', {class: 'warning'}, plainText(cell.damaged)),
    ...(cell.diverged || []).map(([seed, epoch, cause]) => el('p', {class: 'warning'}, `Seed ${seed} diverged at epoch ${epoch}: ${plainText(cause)}`)),
    row && Object.keys(row.chosen).length > 0 && [el('h4', null, `Chosen in ${count(row.trials, 'trial')}`), definitions(Object.entries(row.chosen), 'chosen values')],
    el('h4', null, 'What is its own'), Object.keys(cell.config).length ? definitions(Object.entries(cell.config), 'keys that differ between cells') : el('p', {class: 'muted'}, 'Nothing: the study has one cell.'),
    row && row.seeds.length > 0 && [el('h4', null, 'By seed'), seedTable(row)],
    costs.length > 0 && [el('h4', null, 'Cost'), definitions(costs, 'costs')],
    cell.environments && el('p', {class: 'muted'}, `Environment ${list(cell.environments.map((i) => String(i + 1)))}, see below. Identity `, el('code', null, id), '.'),
    el('details', null, el('summary', null, `All ${Object.keys(config).length} keys`), definitions(Object.entries(config).sort(([a], [b]) => (a < b ? -1 : 1)), 'the full config')),
  ];
}

function seedTable(row) {
  const names = Object.keys(study.metrics).filter((m) => row.values[m]);
  return el('div', {class: 'scroll', tabindex: '0', role: 'region', 'aria-label': `${plainText(row.name)}, by seed`}, el('table', null,
    el('caption', {class: 'hidden'}, `${plainText(row.name)}, by seed`),
    el('thead', null, el('tr', null, el('th', {scope: 'col'}, 'seed'), names.map((m) => el('th', {scope: 'col'}, named(study.metrics[m].heading))))),
    el('tbody', null, row.seeds.map((seed, i) => el('tr', null, el('th', {scope: 'row', class: 'number'}, String(seed)),
      names.map((m) => el('td', {class: 'number'}, fixed(row.values[m][i] ?? NaN, study.metrics[m].digits + 1))))))));
}

function errorBody(cell) {
  return [el('p', {class: 'warning'}, plainText(cell.error.split('\n')[0])),
    cell.traceback && el('pre', {tabindex: '0', 'aria-label': 'traceback'}, cell.traceback.replace(/[\u202a-\u202e\u2066-\u2069]/g, '�'))];
}

function foldable(id, summaryParts, body) { // remembers whether it is open
  const details = el('details', {id, open: state.open.has(id)}, el('summary', {id: `${id}-head`}, ...summaryParts));
  const unfold = () => { if (details.childElementCount === 1) details.append(el('div', {class: 'inside'}, body())); };
  if (state.open.has(id)) unfold();
  details.addEventListener('toggle', () => {
    if (details.open) { unfold(); state.open.add(id); } else state.open.delete(id);
  });
  return details;
}

function placeOf(cell) {
  const config = {...study.common, ...cell.config};
  const control = config['control.name'];
  return [control ? '' : config['model.placement'], config['data.name']].filter(Boolean).map(plainText).join(' · ');
}

function cellHead(cell) {
  const [sign, word] = STATES[cell.state];
  return [el('span', {class: `state ${cell.state}`, title: word}, el('span', {'aria-hidden': 'true'}, sign), el('span', {class: 'hidden'}, word)), ' ',
    named(cell.label), ' ', el('span', {class: 'muted'}, `${placeOf(cell)} · ${cell.finished.length < cell.seeds ? `${cell.finished.length} of ` : ''}${count(cell.seeds, 'seed')}${progressText(cell.progress)}`)];
}

function progressText(progress) { // of a cell that is being trained
  if (!progress || !(progress.epoch || progress.trials)) return '';
  const {epoch, epochs, trials, validation} = progress;
  const far = trials ? `${trials[0]} of ${trials[1]} tuning trials` : `epoch ${epoch}${epochs ? ` of ${epochs}` : ''}`;
  return ` · ${far}${validation ? `, ${plainText(validation[0])} ${fixed(validation[1])} on validation rows` : ''}`;
}

function drawCells() {
  const words = state.filter.toLowerCase().split(/\s+/);
  const every = Object.entries(study.cells);
  const found = every.filter(([, cell]) => words.every((word) => `${cell.label} ${placeOf(cell)} ${cell.state}`.toLowerCase().includes(word)));
  const shown = state.whole.has('cells') ? found : found.slice(0, rowsAtFirst());
  fill('cells-about', `${count(every.length, 'cell')}${found.length < every.length ? `, ${found.length} that the filter leaves` : ''}: each opens to its config, its values by seed and its cost.`);
  fill('cell-list', shown.map(([id, cell]) => foldable(`cell-${id}`, cellHead(cell), () => cellBody(id, cell))),
    shown.length < found.length && el('button', {type: 'button', class: 'quiet', id: 'cells-more', onclick: () => { state.whole.add('cells'); keepFocus(drawCells); }}, `Show all ${found.length} cells`));
  show('cells', every.length > 0);
}

function drawErrors() {
  const failed = Object.entries(study.cells).filter(([, cell]) => cell.error || cell.damaged);
  show('errors', failed.length > 0);
  fill('error-list', failed.map(([id, cell]) => foldable(`error-${id}`, [...cellHead(cell), el('span', {class: 'reason'}, ` ${plainText((cell.error || cell.damaged).split('\n')[0])}`)],
    () => (cell.error ? errorBody(cell) : el('p', {class: 'warning'}, plainText(cell.damaged))))));
}

function drawEnvironment() {
  const notes = study.groups.flatMap((one) => one.notes.map((note) => (study.groups.length > 1 ? `${one.name}: ${note}` : note)));
  show('environment', study.environments.length > 0);
  fill('environment-list', notes.map((note) => el('p', {class: 'warning'}, plainText(note))), study.environments.map((env, i) => {
    const users = Object.values(study.cells).filter((cell) => (cell.environments || []).includes(i)).length;
    const {versions = {}, ...rest} = env;
    const revision = env.git_revision ? `${env.git_revision.slice(0, 10)}${env.git_dirty ? ' with changed files' : ''}` : `version ${versions.fusion_jax || 'unknown'}`;
    return foldable(`environment-${i}`, [`${i + 1}. `, el('code', null, plainText(revision)), el('span', {class: 'muted'}, ` · ${plainText((env.devices || []).join(', '))} · jax ${plainText(versions.jax || '?')} · ${count(users, 'cell')}`)],
      () => definitions([...Object.entries(rest), ...Object.entries(versions)].filter(([, v]) => v !== null), `environment ${i + 1}`));
  }));
}
