// People at a real browser, headless Chromium, against this server's own pages.
//
//   OAUTHREG_ISSUER      the issuer
//   OAUTHREG_CLIENTS     JSON: the client_id of the public clients plain, verified, self, admin
//   OAUTHREG_REDIRECT    their redirect URI, on another port of 127.0.0.1
//   OAUTHREG_LATER       POST: whatever is pending expires
//   OAUTHREG_POLICED     a page that violates its Content-Security-Policy
//   OAUTHREG_PASSWORD    the password of every user, whatever their name
//   OAUTHREG_THROTTLED   the one user who has had too many tries
//   OAUTHREG_ARTIFACTS   where screenshots go, if anybody wants them
//   CHROMIUM             the browser; /usr/bin/chromium if it is not set

import axe from 'axe-core';
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';

const env = (name) => {
  const value = process.env[name];
  assert.ok(value, `${name} is not set`);
  return value;
};
const issuer = env('OAUTHREG_ISSUER');
const clients = JSON.parse(env('OAUTHREG_CLIENTS'));
const redirect = env('OAUTHREG_REDIRECT');
const password = env('OAUTHREG_PASSWORD');
const artifacts = process.env.OAUTHREG_ARTIFACTS;

const phone = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true };
const desktop = { viewport: { width: 1280, height: 800 } };
const noScript = { javaScriptEnabled: false };

let browser;
before(async () => {
  if (artifacts) mkdirSync(artifacts, { recursive: true });
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-quic'],
  });
});
after(() => browser?.close());

// Person is somebody at a window of their own. Whatever the window asks for
// elsewhere, or complains about, is noted.
class Person {
  requests = [];
  callbacks = []; // what arrived at the application
  complaints = [];

  static async at(name, options) {
    const person = new Person();
    person.name = name;
    person.context = await browser.newContext({ locale: 'en-US', ...options });
    person.context.setDefaultTimeout(15_000);
    person.page = await person.open();
    return person;
  }

  async open() {
    const page = await this.context.newPage();
    page.on('request', (request) => {
      this.requests.push(request.url());
      if (request.url().startsWith(redirect + '?')) this.callbacks.push(new URL(request.url()));
    });
    page.on('pageerror', (err) => this.complaints.push(`error: ${err}`));
    page.on('console', (message) => {
      // Chromium says so of every page with such a status, ours on purpose.
      if (/^Failed to load resource: the server responded with a status of 4\d\d/.test(message.text())) return;
      this.complaints.push(`${message.type()}: ${message.text()}`);
    });
    return page;
  }

  // leave ends the visit: nothing was asked of anybody else, nothing complained of.
  async leave() {
    await this.context.close();
    const elsewhere = this.requests.filter((url) => !url.startsWith('data:') && new URL(url).hostname !== '127.0.0.1');
    assert.deepEqual(elsewhere, []);
    assert.deepEqual(this.complaints, []);
  }

  async visit(path) {
    const response = await this.page.goto(issuer + path);
    return response.status();
  }

  // request starts an authorization request and returns its verifier.
  async request(client, more = {}, page = this.page) {
    const verifier = randomBytes(32).toString('base64url');
    const query = new URLSearchParams({
      response_type: 'code', client_id: clients[client], redirect_uri: redirect, state: 'state of ' + client, scope: 'openid profile offline_access',
      code_challenge: createHash('sha256').update(verifier).digest('base64url'), code_challenge_method: 'S256', ...more,
    });
    const response = await page.goto(`${issuer}/oauth/authorize?${query}`);
    return { verifier, status: response.status() };
  }

  async signIn(word = password, name = this.name) {
    await this.page.fill('#username', name);
    await this.page.fill('#password', word);
    await this.page.click('#login-submit');
  }

  // on waits until a page is what is shown.
  async on(title, path) {
    try {
      if (path) await this.page.waitForURL((url) => url.href.split('?')[0] === issuer + path);
      await this.page.getByRole('heading', { level: 1, name: title, exact: true }).waitFor();
    } catch (err) {
      assert.fail(`no page "${title}" but at ${this.page.url()}\n${await this.page.innerText('body')}\n${err}`);
    }
    assert.ok((await this.page.title()).endsWith(title), await this.page.title());
  }

  // answered waits for the answer to the application, and reads it.
  async answered(client, page = this.page) {
    await page.waitForURL(redirect + '?**');
    assert.equal(await page.locator('h1').innerText(), 'Back in the app');
    const answer = new URL(page.url()).searchParams;
    assert.equal(answer.get('state'), 'state of ' + client);
    assert.equal(answer.get('iss'), issuer);
    return answer;
  }
}

const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];

// findings is what axe finds on a page, or cannot decide.
async function findings(page) {
  if (!(await page.evaluate(() => 'axe' in window))) await page.evaluate(axe.source);
  const options = { runOnly: { type: 'tag', values: tags }, resultTypes: ['violations', 'incomplete'] };
  const found = await page.evaluate((o) => window.axe.run(document, o), options);
  return [...found.violations, ...found.incomplete].map((v) => `${v.id}: ${v.help}: ${v.nodes.map((n) => n.html + ' ' + n.failureSummary).join('; ')}`);
}

// shown has axe look at a page, in light and at a desk also in dark, since a phone
// has no colors of its own, and takes screenshots.
async function shown(person, name) {
  const { page } = person;
  const schemes = page.viewportSize().width > 600 ? ['light', 'dark'] : ['light'];
  for (const colorScheme of schemes) {
    await page.emulateMedia({ colorScheme });
    if (artifacts) await page.screenshot({ path: join(artifacts, `${name}-${colorScheme}.png`), fullPage: true });
    assert.deepEqual(await findings(page), [], `${name}, ${colorScheme}`);
  }
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  assert.ok(wide <= 0, `${name}: ${wide} pixels too wide`);
}

async function token(form) {
  const response = await fetch(issuer + '/oauth/token', { method: 'POST', body: new URLSearchParams({ client_id: clients.plain, ...form }) });
  return { status: response.status, ...(await response.json()) };
}

const refused = 'This request can’t continue';
const answered = 'This request was already answered';

// The walk from the application through sign-in and consent and back, to the
// account, where access is taken back, and out. look is called on every page.
async function walk(person, look) {
  const { page } = person;
  const { verifier } = await person.request('plain', { scope: 'openid profile email orders offline_access' });
  await person.on('Sign in', '/oauth/authorize');
  assert.match(await page.innerText('main'), /to continue to Garden Planner/);
  await look('login');
  await person.signIn('wrong');
  await person.on('Sign in', '/login');
  assert.match(await page.innerText('[role=alert]'), /do not match/);
  assert.match(await page.title(), /^Error: /);
  assert.equal(await page.inputValue('#username'), person.name);
  assert.equal(await page.inputValue('#password'), '');
  await look('login-failed');
  await person.signIn();

  await person.on('Garden Planner wants to access your account', '/consent');
  const text = await page.innerText('main');
  for (const words of [`Signed in as ${person.name}`, new URL(redirect).host, 'See your orders', 'See your email address', 'Keep access while you are away']) {
    assert.ok(text.includes(words), words);
  }
  assert.deepEqual(await page.locator('form button').evaluateAll((all) => all.map((b) => b.id)), ['consent-deny', 'consent-allow']);
  await look('consent');
  await page.click('#consent-allow');
  const answer = await person.answered('plain');
  assert.ok(answer.get('code'));
  const tokens = await token({ grant_type: 'authorization_code', code: answer.get('code'), redirect_uri: redirect, code_verifier: verifier });
  assert.equal(tokens.status, 200);

  // The decision is remembered.
  await person.request('plain', { scope: 'openid profile email orders offline_access' });
  assert.ok((await person.answered('plain')).get('code'));
  assert.equal(person.callbacks.length, 2);

  assert.equal(await person.visit('/account'), 200);
  await person.on('Your account', '/account');
  assert.equal(await page.locator('.marked h3').innerText(), 'Garden Planner');
  await look('account');
  await page.getByRole('button', { name: /^Remove access.*Garden Planner$/ }).click();
  await page.getByText('No app has access to your account.').waitFor();
  await person.on('Your account', '/account');
  await look('account-empty');
  assert.equal((await token({ grant_type: 'refresh_token', refresh_token: tokens.refresh_token })).error, 'invalid_grant');

  await page.click('#sign-out');
  await page.waitForURL('**/account/signed-out');
  await person.on('You are signed out');
  await look('signed-out');
  await person.visit('/account');
  await person.on('Sign in', '/login');
}

// Every other page that a person may see.
async function otherPages(person, look) {
  const { page } = person;
  await person.request('verified', { resource: issuer });
  await person.signIn(password, process.env.OAUTHREG_THROTTLED);
  assert.match(await page.innerText('[role=alert]'), /too many tries/);
  await look('login-throttled');
  await person.signIn();
  await page.getByText('The operator of this site knows who runs this app.').waitFor();
  assert.ok((await page.innerText('.resources')).includes(issuer));
  await look('consent-verified');
  await page.click('#consent-allow');
  await person.answered('verified');

  await person.request('self');
  await person.on('Quick Notes wants to access your account', '/consent');
  assert.match(await page.innerText('.note'), /registered itself/);
  await look('consent-self-registered');
  await page.click('#consent-allow');
  await person.answered('self');
  await person.request('self', { prompt: 'consent' });
  await person.on('Quick Notes wants to access your account', '/consent');

  await person.request('admin', { scope: 'openid admin' });
  assert.equal(await page.locator('.heavy strong').innerText(), 'Administer for you');
  await look('consent-admin');
  await page.click('#consent-allow');
  await person.answered('admin');
  await person.request('verified', { scope: 'openid profile email' });
  assert.equal(await page.locator('.scopes .tag').innerText(), 'New');
  await look('consent-more');
  await page.click('#consent-deny');
  const denied = await person.answered('verified');
  assert.equal(denied.get('error'), 'access_denied');
  assert.equal(denied.get('code'), null);

  await person.request('plain', { prompt: 'login' });
  await person.on('Confirm it’s you', '/oauth/authorize');
  assert.equal(await page.inputValue('#username'), person.name);
  await look('login-again');
  await page.getByRole('link', { name: 'Use another account' }).click();
  await person.on('Sign in', '/login');
  await page.goBack();
  await page.fill('#password', password);
  await page.click('#login-submit');
  await person.on('Garden Planner wants to access your account', '/consent');

  // The same person at another window, which can be ended from here.
  const other = await Person.at(person.name, {});
  await other.visit('/account');
  await other.signIn();
  await other.on('Your account', '/account');
  await person.visit('/account');
  assert.equal(await page.locator('.marked').count(), 3);
  await look('account-many');
  await page.getByRole('button', { name: /^Sign out there/ }).click();
  await page.waitForFunction(() => document.querySelectorAll('section')[1]?.querySelectorAll('li').length === 1);
  await other.page.reload();
  await other.on('Sign in', '/login');
  await other.leave();

  // Somebody else at the same window, and the choice between the two.
  await page.click('#switch-account');
  await person.on('Choose an account', '/login');
  await page.click('#other-account');
  await person.on('Sign in', '/login');
  await person.signIn(password, 'zoe.of.the.long.name@department.example');
  await person.on('Your account', '/account');
  assert.equal(await page.locator('.marked').count(), 0);
  await person.request('plain', { prompt: 'select_account' });
  await person.on('Choose an account', '/oauth/authorize');
  assert.match(await page.innerText('main'), /to continue to Garden Planner/);
  await look('accounts');
  await page.getByRole('button', { name: `Continue as ${person.name}` }).click();
  await person.on('Garden Planner wants to access your account', '/consent');
  assert.ok((await page.innerText('.who')).includes(person.name));
  await page.getByRole('link', { name: 'Use another account' }).click();
  await person.on('Choose an account', '/consent');
  await page.getByRole('button', { name: /^Sign out.*zoe/ }).click();
  await person.on('Choose an account', '/login');
  await look('account-single');
  await page.getByRole('button', { name: `Continue as ${person.name}` }).click();
  await person.on('Garden Planner wants to access your account', '/consent');

  await person.visit('/oauth/logout?client_id=' + clients.plain);
  await person.on('Sign out?', '/oauth/logout');
  await look('sign-out');
  await page.click('#message-cancel');
  await person.on('Your account', '/account');
  await person.visit('/oauth/logout?client_id=' + clients.plain);
  await page.click('#message-submit');
  await person.on('You are signed out', '/oauth/logout');

  assert.equal((await person.request('plain', { redirect_uri: 'https://elsewhere.example/' })).status, 400);
  await person.on(refused, '/oauth/authorize');
  await look('error');
  assert.equal(await person.visit('/login?interaction=unknown'), 400);
  await person.on(refused, '/login');
  await look('error-sign-in');
}

for (const [name, size, window] of [['alice', 'phone', phone], ['amir', 'desktop', desktop]]) {
  test(`every page: ${size}`, async () => {
    const person = await Person.at(name, window);
    const look = (page) => shown(person, `${size}-${page}`);
    await walk(person, look);
    await otherPages(person, look);
    await person.leave();
  });
}

test('without scripts', async () => {
  const person = await Person.at('bob', { ...phone, ...noScript });
  await walk(person, () => {});
  await person.leave();
});

for (const [locale, title] of Object.entries({ de: 'Anmelden', fr: 'Connexion', es: 'Iniciar sesión', zh: '登录' })) {
  test(`in another language: ${locale}`, async () => {
    const person = await Person.at('carol-' + locale, { ...phone, locale });
    await person.request('self');
    await person.on(title, '/oauth/authorize');
    await person.signIn();
    await person.page.waitForSelector('#consent-allow');
    assert.match(await person.page.getAttribute('html', 'lang'), new RegExp('^' + locale));
    await shown(person, `phone-consent-${locale}`);
    await person.leave();
  });
}

test('with the keyboard alone', async () => {
  const person = await Person.at('dave', { ...desktop, ...noScript });
  const { page } = person;
  const { keyboard } = page;
  const focused = page.locator(':focus');
  // tab goes on to what matches selector, within a few steps that can all be seen.
  const tab = async (selector, most) => {
    const way = [];
    for (let i = 0; i < most; i++) {
      await keyboard.press('Tab');
      const [what, hit, outline] = await focused.evaluate((el, s) => [el.outerHTML, el.matches(s), getComputedStyle(el).outlineStyle], selector);
      assert.equal(outline, 'solid', what);
      if (hit) return;
      way.push(what);
    }
    assert.fail(`${selector} is not among ${way.join('\n')}`);
  };
  await person.request('verified');
  assert.equal(await focused.getAttribute('id'), 'username');
  await keyboard.type('dave');
  await tab('#password', 1);
  await keyboard.type('wrong');
  await tab('#login-submit', 1);
  await keyboard.press('Enter');
  await page.waitForSelector('[role=alert]');
  assert.equal(await focused.getAttribute('id'), 'password');
  await keyboard.type(password);
  await keyboard.press('Enter');
  await page.waitForSelector('#consent-allow');
  assert.equal(await focused.count(), 0, 'a decision has the focus before anything was read');
  await tab('.who a', 1);
  await tab('#consent-deny', 1);
  await tab('#consent-allow', 1);
  await keyboard.press('Enter');
  assert.ok((await person.answered('verified')).get('code'));
  await person.visit('/account');
  await tab('#switch-account', 1);
  await tab('#sign-out', 1);
  await tab('.danger', 1);
  await keyboard.press('Enter');
  await page.getByText('No app has access to your account.').waitFor();
  await tab('#sign-out', 2);
  await keyboard.press('Enter');
  await page.waitForURL('**/account/signed-out');
  await person.leave();
});

// A request is answered once, whatever people do with their windows.
test('back, reload and a second tab', async () => {
  const person = await Person.at('erin', desktop);
  const { page } = person;
  await person.request('plain');
  await person.signIn();
  await page.waitForSelector('#consent-allow');
  await page.reload();
  await person.on('Garden Planner wants to access your account', '/consent');

  const second = await person.open();
  await second.goto(page.url());
  await page.click('#consent-allow');
  await person.answered('plain');
  const posted = second.waitForResponse((r) => r.request().method() === 'POST');
  await second.click('#consent-allow');
  assert.equal((await posted).status(), 409);
  await second.waitForSelector('#error-code');
  assert.equal(await second.locator('h1').innerText(), answered);
  assert.match(await second.innerText('main'), /go back to the app and start again/);

  const back = await page.goBack();
  assert.equal(back.status(), 409);
  await person.on(answered, '/consent');
  assert.equal(await page.getAttribute('#error-back', 'href'), new URL('/', redirect).href);
  await shown(person, 'desktop-error-answered');
  assert.equal((await page.reload()).status(), 409);
  assert.equal(person.callbacks.length, 1);

  // The request itself once more is a new one: the person is signed in, and has
  // allowed it.
  await page.goBack();
  assert.ok((await person.answered('plain')).get('code'));
  assert.equal(person.callbacks.length, 2);

  // The way on: the application starts again.
  await person.request('plain');
  assert.ok((await person.answered('plain')).get('code'));
  assert.equal(person.callbacks.length, 3);

  // Two requests at the same time are two answers.
  await person.request('self');
  await person.request('verified', {}, second);
  await page.click('#consent-allow');
  await second.click('#consent-deny');
  assert.ok((await person.answered('self')).get('code'));
  assert.equal((await person.answered('verified', second)).get('error'), 'access_denied');
  await person.leave();
});

test('what is wrong is noticed', async () => {
  const person = await Person.at('grace', desktop);
  await person.page.goto(env('OAUTHREG_POLICED'));
  assert.match((await findings(person.page)).join('\n'), /^image-alt: /m);
  await person.page.goto('http://elsewhere.invalid/').catch(() => {});
  await assert.rejects(person.leave(), /elsewhere\.invalid/);
  assert.equal(person.complaints.filter((c) => c.includes('Content Security Policy')).length, 2, person.complaints.join('\n'));
});

test('too late', async () => {
  const later = async () => assert.equal((await fetch(env('OAUTHREG_LATER'), { method: 'POST' })).status, 200);
  const person = await Person.at('frank', desktop);
  const { page } = person;
  const expect = async (status, act) => {
    const [response] = await Promise.all([page.waitForResponse((r) => r.status() !== 303), act()]);
    assert.equal(response.status(), status);
    await page.waitForSelector('#error-code');
    await person.on(refused);
  };
  await person.request('plain');
  await later();
  await expect(400, () => person.signIn());
  await page.getByRole('link', { name: 'Go to sign-in' }).click();
  await person.on('Sign in', '/login');
  await person.signIn();
  await person.on('Your account', '/account');

  await person.request('plain');
  await later();
  await expect(400, () => page.click('#consent-allow'));
  await shown(person, 'desktop-error-expired');
  await expect(400, () => person.visit('/consent?consent_token=unknown'));
  await expect(400, () => person.visit('/oauth/authorize/resume?interaction=unknown'));
  assert.deepEqual(person.callbacks, []);
  await person.leave();
});
