// An administrator at a real browser, headless Chromium, in the admin console.
//
//   OAUTHREG_CONSOLE     its address
//   OAUTHREG_KEY         the admin key
//   OAUTHREG_ARTIFACTS   where screenshots go, if anybody wants them
//   CHROMIUM             the browser; /usr/bin/chromium if it is not set

import axe from 'axe-core';
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';

const env = (name) => {
  const value = process.env[name];
  assert.ok(value, `${name} is not set`);
  return value;
};
const at = env('OAUTHREG_CONSOLE');
const key = env('OAUTHREG_KEY');
const artifacts = process.env.OAUTHREG_ARTIFACTS;

let browser;
before(async () => {
  if (artifacts) mkdirSync(artifacts, { recursive: true });
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-quic'],
  });
});
after(() => browser?.close());

const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];

// What axe looks at: everything in light; in dark, where nothing but colors is
// another, those.
const rules = {
  light: { type: 'tag', values: tags },
  dark: { type: 'rule', values: ['color-contrast', 'link-in-text-block'] },
};

// shown has axe look at a page, in light and at a desk also in dark, since a phone
// has no colors of its own, and takes screenshots.
async function shown(page, name) {
  const schemes = page.viewportSize().width > 600 ? ['light', 'dark'] : ['light'];
  for (const colorScheme of schemes) {
    await page.emulateMedia({ colorScheme });
    if (artifacts) await page.screenshot({ path: join(artifacts, `console-${name}-${colorScheme}.png`), fullPage: true });
    if (!(await page.evaluate(() => 'axe' in window))) await page.evaluate(axe.source);
    const found = await page.evaluate((o) => window.axe.run(document, o), { runOnly: rules[colorScheme], resultTypes: ['violations', 'incomplete'] });
    const findings = [...found.violations, ...found.incomplete].map((v) => `${v.id}: ${v.help}: ${v.nodes.map((n) => n.html + ' ' + n.failureSummary).join('; ')}`);
    assert.deepEqual(findings, [], `${name}, ${colorScheme}`);
  }
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  assert.ok(wide <= 0, `${name}: ${wide} pixels too wide`);
}

// visitor is a window, in which nothing may be complained of, or asked for
// elsewhere.
async function visitor(options) {
  const context = await browser.newContext({ locale: 'en-US', ...options });
  context.setDefaultTimeout(15_000);
  const page = await context.newPage();
  const complaints = [];
  page.on('request', (request) => {
    if (!request.url().startsWith('data:') && !request.url().startsWith(at)) complaints.push('asked for ' + request.url());
  });
  page.on('pageerror', (err) => complaints.push(`error: ${err}`));
  page.on('console', (message) => {
    // Chromium says so of every page with such a status, ours on purpose.
    if (/^Failed to load resource: the server responded with a status of 4\d\d/.test(message.text())) return;
    complaints.push(`${message.type()}: ${message.text()}`);
  });
  const leave = async () => {
    await context.close();
    assert.deepEqual(complaints, []);
  };
  return { page, leave };
}

const on = (page, title) => page.getByRole('heading', { level: 1, name: title }).waitFor();

// walk goes through everything. look is called on every page.
async function walk(page, name, look) {
  await page.goto(at + '/clients');
  await on(page, 'Sign in');
  await look('sign-in');
  await page.fill('#key', 'wrong');
  await page.click('#sign-in');
  await page.getByText('That is not the admin key.').waitFor();
  assert.match(await page.title(), /^Error: /);
  await look('sign-in-wrong');
  await page.fill('#key', key);
  await page.click('#sign-in');
  await on(page, 'Clients');
  await look('clients');
  await page.getByRole('link', { name: 'Older' }).click();
  await page.getByText('Page 2 of 2').waitFor();

  await page.getByRole('link', { name: 'Overview', exact: true }).click();
  await on(page, 'Overview');
  assert.equal(await page.locator('figure svg[role=img]').count(), 4);
  await look('overview');

  // A client is made, wrongly first.
  await page.getByRole('link', { name: 'New client' }).click();
  await on(page, 'New client');
  await look('new');
  await page.fill('#f-client_name', name);
  await page.fill('#f-redirect_uris', 'https://app.example/cb\nhttp://app.example/*');
  await page.fill('#f-scope', 'openid\nprofile');
  await page.fill('#f-access_token_lifetime', 'soon');
  await page.click('#save');
  await page.getByRole('alert').waitFor();
  assert.equal(await page.getAttribute('#f-redirect_uris', 'aria-invalid'), 'true');
  assert.match(await page.innerText('#p-redirect_uris'), /^Line 2 /);
  assert.match(await page.innerText('#p-access_token_lifetime'), /whole number/);
  assert.equal(await page.inputValue('#f-client_name'), name);
  await look('new-wrong');
  await page.fill('#f-redirect_uris', 'https://app.example/cb');
  await page.fill('#f-access_token_lifetime', '600');
  await page.click('#save');
  await on(page, /is registered$/);
  const secret = await page.inputValue('#secret');
  assert.match(secret, /^oas_/);
  await page.locator('#client-id').focus();
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.getSelection().toString()), secret);
  await look('registered');

  // The secret is not shown again: not on the client's page, nor by going back or
  // sending the form once more.
  await page.reload();
  await page.getByText('This form was sent before').waitFor();
  assert.ok(!(await page.content()).includes(secret));
  await look('sent-before');
  await page.goto(at + '/clients?q=' + encodeURIComponent(name));
  await page.getByRole('link', { name, exact: true }).click();
  await on(page, new RegExp('^' + name));
  assert.ok(!(await page.content()).includes(secret));
  await look('client');

  await page.fill('#label', 'the second');
  await page.click('#rotate');
  await on(page, /^A new secret/);
  assert.notEqual(await page.inputValue('#secret'), secret);
  await look('secret');
  await page.click('#done');
  await on(page, new RegExp('^' + name));
  await page.getByRole('link', { name: /^Revoke the secret the second/ }).click();
  await on(page, 'Revoke this secret?');
  await look('revoke-secret');
  await page.click('#confirm');
  await page.getByText('The secret is revoked.').waitFor();

  // Why is it refused?
  await page.click('#explain');
  await on(page, 'Explain a request');
  await page.fill('#parameters', 'https://as.example/authorize?response_type=code&redirect_uri=https%3A%2F%2Felsewhere.example%2F');
  await page.click('#ask');
  await page.getByText('It would be refused').waitFor();
  await look('explain-refused');
  await page.getByRole('link', { name: 'Redirect URIs' }).click();
  await on(page, /^Edit /);
  await page.check('#f-verified');
  await look('edit');
  await page.click('#save');
  await page.getByText('The changes are saved.').waitFor();
  await page.click('#explain');
  await page.click('#ask');
  await page.getByText('It would be allowed.').waitFor();
  await look('explain-allowed');

  await page.goBack();
  await page.goBack();
  await page.click('#suspend');
  await page.getByText('The client is suspended').waitFor();
  await look('suspended');
  await page.click('#resume');
  await page.getByText('The client works again.').waitFor();
  await page.click('#delete');
  await on(page, `Delete ${name}?`);
  await look('delete');
  await page.click('#cancel');
  await page.click('#delete');
  await page.click('#confirm');
  await page.getByText('The client is deleted').waitFor();

  // Grants, keys, the audit log.
  await page.getByRole('link', { name: 'Grants', exact: true }).click();
  await on(page, 'Grants');
  await look('grants');
  await page.fill('#subject', 'sub-alice');
  await page.getByRole('button', { name: 'Search' }).click();
  await page.getByRole('link', { name: /^Revoke what/ }).first().click();
  await on(page, 'Revoke access?');
  await page.click('#confirm');
  await page.getByText('Access is revoked').waitFor();
  await page.getByRole('link', { name: 'Remembered consents' }).click();
  await look('consents');

  await page.getByRole('link', { name: 'Keys', exact: true }).click();
  await on(page, 'Signing keys');
  await page.click('#rotate');
  await page.getByText('A new key signs from now on.').waitFor();
  await look('keys');
  await page.getByRole('link', { name: /^Withdraw/ }).first().click();
  await on(page, 'Withdraw this key?');
  await look('withdraw');
  await page.click('#cancel');

  await page.getByRole('link', { name: 'Audit', exact: true }).click();
  await on(page, 'Audit log');
  await page.selectOption('#action', 'client.updated');
  await page.getByRole('button', { name: 'Search' }).click();
  await page.locator('summary').first().click();
  await page.getByText('by admin admin console').first().waitFor();
  await look('audit');

  assert.equal((await page.goto(at + '/nothing')).status(), 404);
  await on(page, 'There is nothing here');
  await look('nothing');
  await page.click('#sign-out');
  await page.getByText('You are signed out.').waitFor();
  await page.goto(at + '/keys');
  await on(page, 'Sign in');
}

for (const [size, window] of [
  ['phone', { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true }],
  ['desktop', { viewport: { width: 1280, height: 800 } }],
]) {
  test(`every page: ${size}`, async () => {
    const { page, leave } = await visitor(window);
    await walk(page, `Travel Desk ${size}`, (name) => shown(page, `${size}-${name}`));
    await leave();
  });
}

test('without scripts', async () => {
  const { page, leave } = await visitor({ javaScriptEnabled: false, viewport: { width: 1280, height: 800 } });
  await page.goto(at + '/');
  await page.fill('#key', key);
  await page.click('#sign-in');
  await on(page, 'Overview');
  await leave();
});

test('with the keyboard alone', async () => {
  const { page, leave } = await visitor({ viewport: { width: 1280, height: 800 } });
  const { keyboard } = page;
  const focused = page.locator(':focus');
  await page.goto(at + '/');
  await page.waitForSelector('#key:focus');
  await keyboard.type(key);
  await keyboard.press('Enter');
  await on(page, 'Overview');
  await keyboard.press('Tab');
  assert.equal(await focused.innerText(), 'Skip to the page');
  await keyboard.press('Enter');
  await keyboard.press('Tab');
  assert.equal(await focused.innerText(), 'Refresh');
  await keyboard.press('Tab');
  await keyboard.press('Enter');
  await on(page, 'New client');
  for (let i = 0; i < 12; i++) await keyboard.press('Tab');
  const [what, outline] = await focused.evaluate((el) => [el.outerHTML, getComputedStyle(el).outlineStyle]);
  assert.equal(outline, 'solid', what);
  await leave();
});
