// The table as it is shown, for other programs: CSV at full precision, Markdown and LaTeX as they are read.

function download(name, type, text) {
  const address = URL.createObjectURL(new Blob([text], {type: `${type};charset=utf-8`}));
  const link = el('a', {href: address, download: name});
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

function csvField(value) {
  if (missing(value)) return '';
  if (typeof value === 'number') return String(value);
  const safe = /^[=+\-@\t\r]/.test(value) && value !== '-' ? `'${value}` : value; // a spreadsheet would calculate it
  return /[",\n\r]/.test(safe) ? `"${safe.replace(/"/g, '""')}"` : safe;
}

function asCsv(columns, rows) {
  const wide = columns.flatMap((column) => column.parts || [column]);
  const line = (fields) => fields.map(csvField).join(',');
  return [line(wide.map((c) => c.name || c.key)), ...rows.map((row) => line(wide.map((c) => c.value(row))))].join('\n') + '\n';
}

function cellText(column, row) {
  const made = column.cell ? column.cell(row) : null;
  if (made === null) return plainText(missing(column.value(row)) ? DASH : column.value(row));
  return plainText([made].flat(2).map((part) => (part && part.textContent !== undefined ? part.textContent : part || '')).join(''));
}

function asMarkdown(columns, rows) {
  const quote = (text) => text.replace(/[\\|`*<_~\[\]]/g, '\\$&');
  const line = (texts) => `| ${texts.join(' | ')} |`;
  return [line(columns.map((c) => quote(plainText(c.name || c.key)))), line(columns.map((c) => (c.text ? '---' : '---:'))),
    ...rows.map((row) => line(columns.map((c) => quote(cellText(c, row)))))].join('\n') + '\n';
}

const TEX = {
  '\\': '\\textbackslash{}', '&': '\\&', '%': '\\%', '_': '\\_', '#': '\\#', $: '\\$', '{': '\\{', '}': '\\}',
  '~': '\\textasciitilde{}', '^': '\\textasciicircum{}', '<': '\\textless{}', '>': '\\textgreater{}', '|': '\\textbar{}',
  '±': '$\\pm$', '\u2212': '$-$', '–': '--', '▲': '$\\blacktriangle$', '▼': '$\\blacktriangledown$', '²': '$^2$', '·': '$\\cdot$',
  '×': '$\\times$', '†': '$\\dagger$',
};

function asLatex(columns, rows) {
  const quote = (text) => [...text].map((c) => TEX[c] || (c.charCodeAt(0) < 127 ? c : `[U+${c.codePointAt(0).toString(16).toUpperCase()}]`)).join('');
  const line = (texts) => `${texts.map((t) => (/^[[*]/.test(t) ? `{}${t}` : t)).join(' & ')} \\\\`;
  return ['% needs the packages booktabs and amssymb',
    `\\begin{tabular}{${columns.map((c) => (c.text ? 'l' : 'r')).join('')}}`, '\\toprule',
    line(columns.map((c) => quote(plainText(c.name || c.key)))), '\\midrule',
    ...rows.map((row) => line(columns.map((c) => quote(cellText(c, row))))), '\\bottomrule', '\\end{tabular}'].join('\n') + '\n';
}

function exportTools(id, caption, columns, rows) {
  const kept = columns.filter((column) => column.value && !column.private);
  const name = plainText(`${study.title} ${caption}`).replace(/[^\w.-]+/g, '_').slice(0, 80);
  const button = (kind, type, make) => el('button', {
    type: 'button', class: 'quiet', id: `${id}-${kind}`, title: `Save this table, as it is sorted and filtered, as ${kind}`,
    onclick: () => download(`${name}.${{CSV: 'csv', Markdown: 'md', LaTeX: 'tex'}[kind]}`, type, make(kept, rows)),
  }, kind);
  return el('span', {class: 'export'}, 'Save as ', button('CSV', 'text/csv', asCsv), ' ',
    button('Markdown', 'text/markdown', asMarkdown), ' ', button('LaTeX', 'application/x-tex', asLatex));
}
