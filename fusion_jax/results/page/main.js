// Draws the page, at first and whenever something is chosen.

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

load(JSON.parse(document.getElementById('data').textContent));
chooseTheme('auto');
listen();
drawAll();
if (document.body.dataset.served === 'true') follow();
