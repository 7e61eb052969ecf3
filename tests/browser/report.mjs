// Opens the page of a run in a browser, narrow, usual and wide, light and dark: nothing is asked of another host, no error is
// logged, nothing overflows, no text is cut off or lies outside its chart. Needs Chromium and playwright-core:
//   npm install playwright-core && node tests/browser/report.mjs CHROMIUM RUN/report.html [SCREENSHOTS_FOLDER]
import { chromium } from 'playwright-core';
import { resolve, join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [executablePath, file, screenshots] = process.argv.slice(2);
const args = ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--no-first-run'];
const browser = await chromium.launch({ executablePath, args });
const faults = [];
for (const [width, colorScheme, media] of [[400, 'light'], [1200, 'dark'], [1800, 'light'], [800, 'dark', 'print']]) {
  const view = `${width} pixels, ${media ?? colorScheme}`;
  const page = await browser.newPage({ viewport: { width, height: 900 }, colorScheme });
  page.on('console', message => { if (['error', 'warning'].includes(message.type())) faults.push(`${view}: ${message.text()}`); });
  page.on('pageerror', error => faults.push(`${view}: ${error}`));
  page.on('request', request => {
    if (!/^(file|data):/.test(request.url())) faults.push(`${view}: asks for ${request.url()}`);
  });
  if (media) await page.emulateMedia({ media, colorScheme });
  await page.goto(pathToFileURL(resolve(file)).href);
  faults.push(...(await page.evaluate(() => {
    const found = [], root = document.documentElement;
    if (root.scrollWidth > root.clientWidth) found.push(`${root.scrollWidth - root.clientWidth} pixels overflow`);
    for (const image of document.images) if (!image.complete || !image.naturalWidth) found.push(`an image is not shown: ${image.alt}`);
    for (const element of document.querySelectorAll('h1,h2,p,dt,dd,figcaption,figcaption b,figcaption span,th,td,summary')) {
      if (element.scrollWidth > element.clientWidth + 1 && element.clientWidth > 0) found.push(`cut off: ${element.textContent}`);
    }
    for (const chart of document.querySelectorAll('svg')) {
      const [, , width, height] = chart.getAttribute('viewBox').split(' ').map(Number);
      for (const text of chart.querySelectorAll('text')) {
        const box = text.getBBox(), turned = text.getAttribute('transform');
        if (turned) continue; // its box is that before it is turned
        if (box.x < -2 || box.y < -2 || box.x + box.width > width + 2 || box.y + box.height > height + 2)
          found.push(`${chart.getAttribute('aria-label')}: "${text.textContent.trim()}" lies outside`);
      }
    }
    if (!document.querySelector('.merit') || !document.querySelectorAll('svg').length) found.push('there are no figures');
    const background = getComputedStyle(document.body).backgroundColor, ink = getComputedStyle(document.body).color;
    if (background === ink) found.push('text has the color of the page');
    return found;
  })).map(fault => `${view}: ${fault}`));
  if (screenshots) await page.screenshot({ path: join(screenshots, `${width}_${media ?? colorScheme}.png`), fullPage: true });
  await page.close();
}
await browser.close();
console.log(faults.length ? faults.join('\n') : 'no fault');
process.exit(faults.length ? 1 : 0);
