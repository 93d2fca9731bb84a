// A served page asks how far the study is.

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
