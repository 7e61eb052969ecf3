// Drives a browser through the page of `serve`: an image is given, what was found appears, the sliders change what is drawn,
// nothing is asked of another host, no error is logged, nothing overflows. Needs Chromium and playwright-core:
//   npm install playwright-core && node tests/browser/page.mjs CHROMIUM URL IMAGE [SCREENSHOT.png]
import { chromium } from 'playwright-core';

const [executablePath, url, image, screenshot] = process.argv.slice(2);
const args = ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--no-first-run'];
const browser = await chromium.launch({ executablePath, args });
const page = await browser.newPage({ viewport: { width: 1200, height: 800 } });
const errors = [], hosts = new Set();
page.on('console', message => { if (message.type() === 'error') errors.push(message.text()); });
page.on('pageerror', error => errors.push(String(error)));
page.on('request', request => hosts.add(new URL(request.url()).host));
await page.goto(url);
await page.waitForFunction(() => document.querySelector('#card').children.length > 0);
await page.setInputFiles('#file', image);
await page.waitForFunction(() => /ms$/.test(document.querySelector('#status').textContent), null, { timeout: 60000 });
const drawn = () => page.evaluate(() => document.querySelector('#view').toDataURL());
const before = await drawn();
for (const [id, value] of [['threshold', 0.08], ['opacity', 0.8]]) {
  await page.evaluate(([id, value]) => {
    const slider = document.getElementById(id);
    slider.value = value;
    slider.dispatchEvent(new Event('input'));
  }, [id, value]);
}
const after = await drawn();
if (screenshot) await page.screenshot({ path: screenshot });
const task = await page.evaluate(() => models[0].card.task);
const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
const found = await page.locator('#found li').count();
await browser.close();
const faults = [
  errors.length && `errors: ${errors.join('; ')}`,
  hosts.size !== 1 && `hosts: ${[...hosts].join(', ')}`,
  overflow > 0 && `${overflow} pixels overflow`,
  found === 0 && 'nothing in the list',
  task !== 'classify' && before === after && 'the sliders change nothing',
].filter(Boolean);
console.log(faults.length ? faults.join('\n') : `${task}: ${found} rows, no fault`);
process.exit(faults.length ? 1 : 0);
