// The published npm package "telnyx", unchanged, against this server: every
// method of oauthClients, oauthGrants, oauth and wellKnown, errors included.
//
//   OAUTHREG_BASE_URL    base of the management API
//   OAUTHREG_API_KEY     its key
//   OAUTHREG_ISSUER      the issuer
//   OAUTHREG_USER, OAUTHREG_PASSWORD  somebody who can sign in
//   OAUTHREG_ADMIN_CLIENT  id:secret of a client whose default scope is admin; optional

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import Telnyx from 'telnyx';

const env = (name) => {
  const value = process.env[name];
  assert.ok(value, `${name} is not set`);
  return value;
};
const baseURL = env('OAUTHREG_BASE_URL');
const issuer = env('OAUTHREG_ISSUER');
const callback = 'https://client.example/cb';
const absent = '182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e';

const client = new Telnyx({ apiKey: env('OAUTHREG_API_KEY'), baseURL });
const stranger = new Telnyx({ apiKey: 'not the key', baseURL });
const unique = () => randomBytes(6).toString('hex');

// refused checks the SDK's exception and the flat body behind it.
const refused = (call, kind, status, code) =>
  assert.rejects(call, (err) => {
    assert.ok(err instanceof kind, `${err?.constructor?.name}: ${err}`);
    assert.equal(err.status, status);
    if (code) {
      assert.equal(err.error.error, code);
      assert.equal(typeof err.error.error_description, 'string');
    }
    return true;
  });

const machine = (more) => ({
  name: 'Robot ' + unique(), client_type: 'confidential', allowed_scopes: ['read', 'write'],
  allowed_grant_types: ['client_credentials'], ...more,
});
const web = (more) => ({
  name: 'Shop ' + unique(), client_type: 'confidential', allowed_scopes: ['openid', 'read', 'write', 'offline_access'],
  allowed_grant_types: ['authorization_code', 'refresh_token'], redirect_uris: [callback], ...more,
});

const members = [
  'record_type', 'client_id', 'name', 'org_id', 'user_id', 'client_type', 'require_pkce', 'created_at', 'updated_at',
  'allowed_scopes', 'allowed_grant_types', 'redirect_uris', 'logo_uri', 'tos_uri', 'policy_uri', 'client_secret',
];

test('oauthClients: create, retrieve, update, delete', async () => {
  const body = web({
    require_pkce: true, logo_uri: 'https://client.example/logo.png', tos_uri: 'https://client.example/tos',
    policy_uri: 'https://client.example/policy',
  });
  const { data: made } = await client.oauthClients.create(body);
  assert.deepEqual(Object.keys(made).sort(), [...members].sort());
  for (const [name, value] of Object.entries(body)) assert.deepEqual(made[name], value, name);
  assert.equal(made.record_type, 'oauth_client');
  assert.equal(typeof made.client_secret, 'string');
  for (const at of [made.created_at, made.updated_at]) assert.match(at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/);

  const oauthClient = await client.oauthClients.retrieve(made.client_id);
  assert.deepEqual(oauthClient.data, { ...made, client_secret: null });

  assert.deepEqual((await client.oauthClients.update(made.client_id)).data, oauthClient.data);
  const { data: changed } = await client.oauthClients.update(made.client_id, { name: 'Renamed', redirect_uris: [callback, callback + '2'] });
  assert.equal(changed.name, 'Renamed');
  assert.deepEqual(changed.redirect_uris, [callback, callback + '2']);
  assert.equal(changed.logo_uri, made.logo_uri);
  assert.equal(changed.client_secret, null);
  assert.ok(Date.parse(changed.updated_at) >= Date.parse(made.updated_at));

  assert.equal(await client.oauthClients.delete(made.client_id), null);
  await refused(client.oauthClients.retrieve(made.client_id), Telnyx.NotFoundError, 404, 'not_found');
  await refused(client.oauthClients.update(made.client_id, {}), Telnyx.NotFoundError, 404, 'not_found');
  await refused(client.oauthClients.delete(made.client_id), Telnyx.NotFoundError, 404, 'not_found');
});

test('oauthClients: the documented samples', async () => {
  // A public client with client_credentials is accepted here and refused at the token endpoint.
  const { data } = await client.oauthClients.create({
    allowed_grant_types: ['client_credentials'], allowed_scopes: ['admin'], client_type: 'public', name: 'My OAuth client',
  });
  assert.equal(data.client_secret, null);
  await refused(client.oauth.token({ grant_type: 'client_credentials', client_id: data.client_id }), Telnyx.BadRequestError, 400, 'unauthorized_client');
  await refused(client.oauthClients.retrieve(absent), Telnyx.NotFoundError, 404, 'not_found');
});

test('oauthClients: errors', async () => {
  await refused(client.oauthClients.create({}), Telnyx.UnprocessableEntityError, 422, 'invalid_request');
  await refused(client.oauthClients.create(machine({ client_type: 'other' })), Telnyx.UnprocessableEntityError, 422, 'invalid_request');
  await refused(client.oauthClients.create(machine({ nonsense: 1 })), Telnyx.UnprocessableEntityError, 422, 'invalid_request');
  await refused(client.oauthClients.create(web({ redirect_uris: [] })), Telnyx.UnprocessableEntityError, 422, 'invalid_request');
  await refused(client.oauthClients.create(web({ redirect_uris: ['javascript:alert(1)'] })), Telnyx.UnprocessableEntityError, 422, 'invalid_request');
  await refused(client.oauthClients.retrieve(''), Telnyx.NotFoundError, 404, 'not_found');
  await refused(client.oauthClients.update('', { name: 'Nobody' }), Telnyx.NotFoundError, 404, 'not_found');
  await refused(client.oauthClients.delete(''), Telnyx.NotFoundError, 404, 'not_found');
  const { data: there } = await client.oauthClients.create(web());
  const bad = [
    { name: '' }, { redirect_uris: ['javascript:alert(1)'] }, { redirect_uris: [] }, { allowed_grant_types: ['password'] },
    { allowed_scopes: ['two words'] }, { client_type: 'public' }, { require_pkce: 'yes' }, { nonsense: 1 },
  ];
  for (const body of bad) await refused(client.oauthClients.update(there.client_id, body), Telnyx.UnprocessableEntityError, 422, 'invalid_request');
  assert.deepEqual((await client.oauthClients.retrieve(there.client_id)).data, { ...there, client_secret: null });
  await refused(client.oauthClients.retrieve('a/b c'), Telnyx.NotFoundError, 404, 'not_found');
  await refused(client.oauthClients.retrieve('\u202e%00?x#y'), Telnyx.NotFoundError, 404, 'not_found');
  await refused(client.oauthClients.list({ 'page[size]': 101 }), Telnyx.BadRequestError, 400, 'invalid_request');
  await refused(client.oauthClients.list({ 'filter[client_type]': 'other' }), Telnyx.BadRequestError, 400, 'invalid_request');
  await refused(client.oauthClients.list({ 'filter[allowed_grant_types][contains]': 'password' }), Telnyx.BadRequestError, 400, 'invalid_request');
  await refused(client.oauthClients.list({ 'filter[client_id]': '' }), Telnyx.BadRequestError, 400, 'invalid_request');
  const none = new Telnyx({ apiKey: null, baseURL });
  for (const nobody of [stranger, none]) {
    await refused(nobody.oauthClients.create(machine()), Telnyx.AuthenticationError, 401, 'invalid_token');
    await refused(nobody.oauthClients.retrieve(absent), Telnyx.AuthenticationError, 401, 'invalid_token');
    await refused(nobody.oauthClients.update(absent, {}), Telnyx.AuthenticationError, 401, 'invalid_token');
    await refused(nobody.oauthClients.delete(absent), Telnyx.AuthenticationError, 401, 'invalid_token');
    await refused(nobody.oauthClients.list(), Telnyx.AuthenticationError, 401, 'invalid_token');
    await refused(nobody.oauthGrants.list(), Telnyx.AuthenticationError, 401, 'invalid_token');
    await refused(nobody.oauthGrants.retrieve(absent), Telnyx.AuthenticationError, 401, 'invalid_token');
    await refused(nobody.oauthGrants.delete(absent), Telnyx.AuthenticationError, 401, 'invalid_token');
    await refused(nobody.oauth.retrieve('x'), Telnyx.AuthenticationError, 401, 'invalid_token');
    await refused(nobody.oauth.grants({ allowed: true, consent_token: 'x' }), Telnyx.AuthenticationError, 401, 'invalid_token');
  }
});

test('oauthGrants: errors', async () => {
  for (const query of [{ 'page[size]': 0 }, { 'page[size]': 101 }, { 'page[number]': 0 }, { 'page[number]': 'x' }, { 'filter[nonsense]': 'x' }]) {
    await refused(client.oauthGrants.list(query), Telnyx.BadRequestError, 400, 'invalid_request');
  }
  for (const id of ['', 'a/b c', absent]) {
    await refused(client.oauthGrants.retrieve(id), Telnyx.NotFoundError, 404, 'not_found');
    await refused(client.oauthGrants.delete(id), Telnyx.NotFoundError, 404, 'not_found');
  }
  await refused(client.oauth.retrieve(''), Telnyx.NotFoundError, 404, 'not_found');
});

test('oauthClients: list, filters and auto-pagination', async () => {
  const mark = 'List ' + unique();
  const made = [];
  for (let i = 0; i < 7; i++) made.unshift((await client.oauthClients.create(machine({ name: `${mark} 100%_${i}` }))).data.client_id);
  const open = (await client.oauthClients.create(web({ name: mark + ' public', client_type: 'public' }))).data.client_id;
  const ours = { 'filter[name][contains]': mark };

  const page = await client.oauthClients.list({ ...ours, 'page[size]': 3 });
  assert.deepEqual(page.meta, { page_number: 1, page_size: 3, total_pages: 3, total_results: 8 });
  assert.deepEqual(page.data.map((c) => c.client_id), [open, ...made].slice(0, 3));
  assert.ok(page.hasNextPage());
  const next = await page.getNextPage();
  assert.equal(next.meta.page_number, 2);

  const all = [];
  for await (const c of client.oauthClients.list({ ...ours, 'page[size]': 3 })) all.push(c.client_id);
  assert.deepEqual(all, [open, ...made]);

  const ids = async (query) => {
    const out = [];
    for await (const c of client.oauthClients.list({ ...ours, ...query })) out.push(c.client_id);
    return out;
  };
  assert.deepEqual(await ids({ 'filter[client_id]': made[2] }), [made[2]]);
  assert.deepEqual(await ids({ 'filter[client_id]': absent }), []);
  assert.deepEqual(await ids({ 'filter[name]': `${mark} 100%_6` }), [made[0]]);
  assert.deepEqual(await ids({ 'filter[name]': mark }), []);
  assert.deepEqual(await ids({ 'filter[client_type]': 'public' }), [open]);
  assert.deepEqual(await ids({ 'filter[allowed_grant_types][contains]': 'refresh_token' }), [open]);
  assert.deepEqual(await ids({ 'filter[verified]': true }), []);
  assert.deepEqual(await ids({ 'filter[verified]': false }), [open, ...made]);
  const past = await client.oauthClients.list({ ...ours, 'page[number]': 9 });
  assert.deepEqual(past.data, []);
  assert.equal(past.meta.total_results, 8);
});

// browser signs in like a person, and stops at the consent page.
async function consentToken(query) {
  const jar = new Map();
  const visit = async (target, form) => {
    const response = await fetch(target, {
      method: form ? 'POST' : 'GET', redirect: 'manual', body: form && new URLSearchParams(form),
      headers: { cookie: [...jar].map(([name, value]) => `${name}=${value}`).join('; ') },
    });
    for (const line of response.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(line);
      jar.set(name, value);
    }
    return response;
  };
  let at = `${baseURL}/oauth/authorize?${new URLSearchParams(query)}`;
  let response = await visit(at);
  for (let step = 0; step < 8; step++) {
    const location = response.headers.get('location');
    if (location) {
      at = new URL(location, at).href;
      const token = new URL(at).searchParams.get('consent_token');
      if (token) return token;
      response = await visit(at);
      continue;
    }
    const html = await response.text();
    const action = /<form[^>]*action="([^"]*)"/.exec(html);
    assert.ok(action && /type="password"/.test(html), `no sign-in page: ${response.status} ${html}`);
    const form = { username: env('OAUTHREG_USER'), password: env('OAUTHREG_PASSWORD') };
    for (const [input] of html.matchAll(/<input[^>]*type="hidden"[^>]*>/g)) {
      form[/name="([^"]*)"/.exec(input)[1]] = /value="([^"]*)"/.exec(input)?.[1] ?? '';
    }
    at = new URL(action[1].replaceAll('&amp;', '&'), at).href;
    response = await visit(at, form);
  }
  assert.fail('no consent page');
}

const pkce = () => {
  const verifier = randomBytes(32).toString('base64url');
  return { verifier, challenge: createHash('sha256').update(verifier).digest('base64url') };
};
const request = (data, challenge, more) => ({
  response_type: 'code', client_id: data.client_id, redirect_uri: callback, scope: 'openid read offline_access', state: 'st',
  code_challenge: challenge, code_challenge_method: 'S256', ...more,
});

test('oauth: consent, grants, token, introspect; oauthGrants', async () => {
  const { data } = await client.oauthClients.create(web({ logo_uri: 'https://client.example/logo.png' }));
  const { verifier, challenge } = pkce();
  const token = await consentToken(request(data, challenge));

  const { data: consent } = await client.oauth.retrieve(token);
  assert.equal(consent.client_id, data.client_id);
  assert.equal(consent.name, data.name);
  assert.equal(consent.redirect_uri, callback);
  assert.equal(consent.logo_uri, 'https://client.example/logo.png');
  assert.equal(consent.verified, false);
  assert.deepEqual(consent.requested_scopes.map((s) => s.id), ['openid', 'read', 'offline_access']);
  for (const s of consent.requested_scopes) assert.equal(typeof s.name + typeof s.description, 'stringstring');

  const { redirect_uri } = await client.oauth.grants({ allowed: true, consent_token: token });
  const target = new URL(redirect_uri);
  assert.equal(target.origin + target.pathname, callback);
  assert.equal(target.searchParams.get('state'), 'st');
  await refused(client.oauth.retrieve(token), Telnyx.UnprocessableEntityError, 422, 'invalid_request');
  await refused(client.oauth.grants({ allowed: true, consent_token: token }), Telnyx.UnprocessableEntityError, 422, 'invalid_request');
  await refused(client.oauth.grants({ allowed: true }), Telnyx.UnprocessableEntityError, 422, 'invalid_request');
  await refused(client.oauth.retrieve('unknown'), Telnyx.UnprocessableEntityError, 422, 'invalid_request');

  const credentials = { client_id: data.client_id, client_secret: data.client_secret };
  const tokens = await client.oauth.token({
    grant_type: 'authorization_code', code: target.searchParams.get('code'), redirect_uri: callback, code_verifier: verifier, ...credentials,
  });
  assert.equal(tokens.token_type, 'Bearer');
  assert.ok(tokens.expires_in > 0);
  assert.ok(tokens.refresh_token);
  const refreshed = await client.oauth.token({ grant_type: 'refresh_token', refresh_token: tokens.refresh_token, ...credentials });
  assert.ok(refreshed.access_token);

  const info = await client.oauth.introspect({ token: refreshed.access_token });
  assert.equal(info.active, true);
  assert.equal(info.client_id, data.client_id);
  assert.equal(info.iss, issuer);
  assert.equal(typeof info.aud, 'string');
  assert.ok(Number.isInteger(info.exp) && Number.isInteger(info.iat));
  assert.deepEqual(await client.oauth.introspect({ token: 'unknown' }), { active: false });
  await refused(stranger.oauth.introspect({ token: 'x' }), Telnyx.AuthenticationError, 401);
  await refused(client.oauth.introspect({}), Telnyx.BadRequestError, 400, 'invalid_request');

  const mine = [];
  for await (const g of client.oauthGrants.list({ 'page[size]': 1 })) if (g.client_id === data.client_id) mine.push(g);
  assert.equal(mine.length, 1);
  const [grant] = mine;
  assert.equal(grant.record_type, 'oauth_grant');
  assert.deepEqual([...grant.scopes].sort(), ['offline_access', 'openid', 'read']);
  assert.ok(Date.parse(grant.created_at) && Date.parse(grant.last_used_at));
  assert.deepEqual((await client.oauthGrants.retrieve(grant.id)).data, grant);
  assert.equal((await client.oauthGrants.delete(grant.id)).data.id, grant.id);
  await refused(client.oauthGrants.retrieve(grant.id), Telnyx.NotFoundError, 404, 'not_found');
  await refused(client.oauthGrants.delete(grant.id), Telnyx.NotFoundError, 404, 'not_found');
  await refused(client.oauthGrants.retrieve(absent), Telnyx.NotFoundError, 404, 'not_found');
  assert.deepEqual(await client.oauth.introspect({ token: refreshed.access_token }), { active: false });
  await refused(client.oauth.token({ grant_type: 'refresh_token', refresh_token: refreshed.refresh_token, ...credentials }), Telnyx.BadRequestError, 400, 'invalid_grant');

  const denied = await client.oauth.grants({ allowed: false, consent_token: await consentToken(request(data, pkce().challenge)) });
  assert.equal(new URL(denied.redirect_uri).searchParams.get('error'), 'access_denied');
});

test('oauth.token: client credentials and errors', async () => {
  const { data } = await client.oauthClients.create(machine());
  const credentials = { grant_type: 'client_credentials', client_id: data.client_id, client_secret: data.client_secret };
  const token = await client.oauth.token({ ...credentials, scope: 'read write' });
  assert.equal(token.scope, 'read write');
  assert.equal(token.refresh_token, undefined);
  await refused(client.oauth.token({ ...credentials, client_secret: 'wrong' }), Telnyx.AuthenticationError, 401, 'invalid_client');
  await refused(client.oauth.token({ ...credentials, client_id: absent }), Telnyx.AuthenticationError, 401, 'invalid_client');
  await refused(client.oauth.token({ ...credentials, scope: 'admin' }), Telnyx.BadRequestError, 400, 'invalid_scope');
  await refused(client.oauth.token({ ...credentials, grant_type: 'authorization_code', code: 'x' }), Telnyx.BadRequestError, 400, 'unauthorized_client');
  await refused(client.oauth.token({ ...credentials, grant_type: 'password' }), Telnyx.BadRequestError, 400, 'unsupported_grant_type');
  await refused(client.oauth.token({ client_id: data.client_id, client_secret: data.client_secret }), Telnyx.BadRequestError, 400, 'invalid_request');
});

test('oauth.retrieveAuthorize', async () => {
  const { data } = await client.oauthClients.create(web());
  const query = request(data, pkce().challenge);
  assert.match(await client.oauth.retrieveAuthorize(query), /id="login-submit"/); // without cookies
  await assert.rejects(client.oauth.retrieveAuthorize({ ...query, scope: 'admin' }, { fetchOptions: { redirect: 'manual' } }), (err) => {
    assert.ok(err instanceof Telnyx.APIError);
    assert.equal(err.status, 302);
    assert.equal(new URL(err.headers.get('location')).searchParams.get('error'), 'invalid_scope');
    return true;
  });
  const manual = { fetchOptions: { redirect: 'manual' } };
  await refused(client.oauth.retrieveAuthorize({ ...query, client_id: absent }, manual), Telnyx.NotFoundError, 404);
  await refused(client.oauth.retrieveAuthorize({ ...query, redirect_uri: 'https://evil.example/' }, manual), Telnyx.UnprocessableEntityError, 422);
  await refused(client.oauth.retrieveAuthorize({ ...query, client_id: undefined }, manual), Telnyx.BadRequestError, 400);
});

test('oauth.retrieveJwks and wellKnown', async () => {
  const { keys } = await client.oauth.retrieveJwks();
  assert.ok(keys.length > 0);
  for (const key of keys) {
    assert.ok(key.kid && key.kty && key.alg && key.use === 'sig');
    assert.equal(key.d, undefined);
  }
  const metadata = await client.wellKnown.retrieveAuthorizationServerMetadata();
  assert.equal(metadata.issuer, issuer);
  for (const name of ['authorization_endpoint', 'token_endpoint', 'introspection_endpoint', 'jwks_uri']) assert.ok(metadata[name].startsWith(issuer), name);
  assert.deepEqual(metadata.code_challenge_methods_supported, ['S256']);
  const resource = await client.wellKnown.retrieveProtectedResourceMetadata();
  assert.equal(resource.resource, baseURL);
  assert.deepEqual(resource.authorization_servers, [issuer]);
});

test('oauth.register', async () => {
  await refused(client.oauth.register(), Telnyx.BadRequestError, 400);
  const made = await client.oauth.register({
    client_name: 'Registered ' + unique(), redirect_uris: [callback], grant_types: ['authorization_code'], scope: 'openid profile',
    token_endpoint_auth_method: 'client_secret_basic',
  });
  assert.ok(made.client_id && made.client_secret);
  assert.ok(Number.isInteger(made.client_id_issued_at));
  assert.equal(made.scope, 'openid profile');
  const same = (await client.oauthClients.retrieve(made.client_id)).data;
  assert.equal(same.name, made.client_name);
  assert.deepEqual(same.allowed_scopes, ['openid', 'profile']);
  await refused(client.oauth.register({ redirect_uris: ['javascript:alert(1)'] }), Telnyx.BadRequestError, 400);
});

test('client-credentials mode: the access token is the bearer', { skip: !process.env.OAUTHREG_ADMIN_CLIENT && 'no admin client given' }, async () => {
  const [clientID, clientSecret] = env('OAUTHREG_ADMIN_CLIENT').split(':');
  let asked = 0;
  const admin = new Telnyx({
    apiKey: null, clientID, clientSecret, baseURL,
    fetch: (url, init) => { // the package has the token URL built in
      const target = String(url.url ?? url);
      if (target !== 'https://api.telnyx.com/v2/oauth/token') return fetch(url, init);
      asked++;
      return fetch(baseURL + '/oauth/token', init);
    },
  });
  const { data } = await admin.oauthClients.create(machine());
  assert.equal((await admin.oauthClients.retrieve(data.client_id)).data.name, data.name);
  assert.equal(asked, 1);
});
