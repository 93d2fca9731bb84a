// Tables that can be sorted: a column says what it holds, the rest is the same for all.
//
// A column is {key, head, title, text, value(row), cell(row), wide}: `value` is what it is sorted by and what is
// exported, at full precision; `cell` what is shown; `text` says that it is words, which stand on the left.

function rowsAtFirst() {
  return isNarrow() ? 25 : 60;
}

function compareValues(a, b) {
  if (typeof a === 'string' && typeof b === 'string') return a.localeCompare(b, 'en', {numeric: true});
  return a - b;
}

function missing(value) {
  return value === null || value === undefined || value === '' || Number.isNaN(value);
}

function sorted(rows, columns, order) {
  const column = columns.find((c) => c.key === order.key);
  if (!column) return rows;
  const held = rows.map((row, i) => [column.value(row), i, row]);
  held.sort(([a, i], [b, j]) => {
    if (missing(a) || missing(b)) return missing(a) - missing(b) || i - j; // what is not there stands last
    return order.down ? compareValues(b, a) || i - j : compareValues(a, b) || i - j;
  });
  return held.map(([, , row]) => row);
}

function headCell(id, column, order, redraw) {
  const active = order.key === column.key;
  const head = el('th', {
    scope: 'col', class: [column.text ? 'words' : '', column.class || ''].join(' ').trim() || null,
    'aria-sort': active ? (order.down ? 'descending' : 'ascending') : null,
  });
  if (column.plain) return build(head, null, [column.plain()]);
  const sort = () => {
    state.sorts[id] = {key: column.key, down: active ? !order.down : Boolean(column.down)};
    redraw();
  };
  const button = el('button', {type: 'button', id: `${id}-sort-${column.key}`, class: 'sort', title: column.title, onclick: sort},
    typeof column.head === 'string' ? named(column.head) : column.head,
    el('span', {class: 'arrow', 'aria-hidden': 'true'}, active ? (order.down ? '▾' : '▴') : ''));
  return build(head, null, [button]);
}

function bodyCell(column, row, first) {
  const value = column.value ? column.value(row) : null;
  const numeric = typeof value === 'number' && Number.isFinite(value);
  return el(first ? 'th' : 'td', {
    scope: first ? 'row' : null, class: [column.text ? 'words' : 'number', column.class || ''].join(' ').trim(),
    'data-column': column.key, 'data-value': numeric ? String(value) : null,
  }, column.cell ? column.cell(row) : numeric ? fixed(value) : missing(value) ? DASH : named(value));
}

// {id, caption, columns, rows, first: key of the column that names the row, order, rowClass(row)} into the element
// #<id>, which keeps its place when the table is drawn anew; returns the rows as they are shown.
function drawTable({id, caption, columns, rows, first, order, rowClass, tools}) {
  const redraw = () => drawTable({id, caption, columns, rows, first, order, rowClass, tools});
  const now = state.sorts[id] || order;
  const ordered = sorted(rows, columns, now);
  const shown = state.whole.has(id) ? ordered : ordered.slice(0, rowsAtFirst());
  const table = el('table', null,
    el('caption', {class: 'hidden'}, caption),
    el('thead', null, el('tr', null, columns.map((column) => headCell(id, column, now, redraw)))),
    el('tbody', null, shown.map((row) => el('tr', {class: rowClass ? rowClass(row) : null},
      columns.map((column) => bodyCell(column, row, column.key === first))))));
  const more = ordered.length > shown.length && el('button', {
    type: 'button', class: 'quiet', id: `${id}-more`, onclick: () => { state.whole.add(id); redraw(); },
  }, `Show all ${ordered.length} rows`);
  keepFocus(() => {
    const outer = document.getElementById(id);
    const scroll = outer.querySelector('.scroll') || outer.appendChild(
      el('div', {class: 'scroll', tabindex: '0', role: 'region', 'aria-label': caption}));
    scroll.setAttribute('aria-label', caption);
    scroll.replaceChildren(table);
    const hint = () => scroll.classList.toggle('more', scroll.scrollLeft + scroll.clientWidth < scroll.scrollWidth - 2);
    scroll.onscroll = hint;
    hint();
    const below = outer.querySelector('.below') || outer.appendChild(el('div', {class: 'below'}));
    below.replaceChildren(...[more, tools && exportTools(id, caption, columns, ordered)].filter(Boolean));
  });
}

function keepFocus(draw) { // what is drawn anew is found again by its id
  const id = document.activeElement && document.activeElement.id;
  draw();
  const again = id && document.getElementById(id);
  if (again && again !== document.activeElement) again.focus({preventScroll: true});
}
