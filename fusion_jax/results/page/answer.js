// The answer, the claims, how far the study is, and the links to the sections.

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
    el('span', {class: 'evidence'}, plainText(withMinus(claim.evidence)), claim.more_seeds ? `; about ${count(claim.more_seeds, 'more seed')} would decide it` : '', claim.late ? `; written when ${count(claim.late, 'seed')} had finished or begun` : '')))),
    el('p', {class: 'evidence'}, `sha256 ${study.stated.sha256.slice(0, 12)}, ${study.stated.written}`, study.stated.changes.map((text) => `; ${plainText(text)}`)));
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
