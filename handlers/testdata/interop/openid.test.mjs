// The published npm packages "openid-client" and "oauth4webapi", unchanged,
// against this server as an OpenID Provider.
//
//   OAUTHREG_ISSUER        the issuer
//   OAUTHREG_CLIENTS       JSON: { basic: {id, secret}, public: {id}, key: {id, jwk} }
//   OAUTHREG_USER, OAUTHREG_PASSWORD  somebody who can sign in, with the claims of alice
//   OAUTHREG_REGISTRATION  1 when clients may register themselves

import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as oauth from 'oauth4webapi';
import * as client from 'openid-client';

const env = (name) => {
  const value = process.env[name];
  assert.ok(value, `${name} is not set`);
  return value;
};
const issuer = new URL(env('OAUTHREG_ISSUER'));
const clients = JSON.parse(env('OAUTHREG_CLIENTS'));
const callback = 'https://client.example/cb';
const bye = 'https://client.example/bye';
const scope = 'openid profile email offline_access';
const insecure = { execute: [client.allowInsecureRequests] };
const http = { [oauth.allowInsecureRequests]: true };

// Browser is a person at a browser: it keeps cookies, follows redirects on the
// server, and fills in the forms it is shown.
class Browser {
  cookies = new Map();

  async fetch(url, init = {}) {
    const headers = new Headers(init.headers);
    headers.set('cookie', [...this.cookies].map(([k, v]) => `${k}=${v}`).join('; '));
    const response = await fetch(url, { ...init, headers, redirect: 'manual' });
    for (const line of response.headers.getSetCookie()) {
      const [pair, ...attributes] = line.split(';');
      const [name, ...value] = pair.split('=');
      if (attributes.some((a) => /max-age=(0|-)/i.test(a))) this.cookies.delete(name);
      else this.cookies.set(name, value.join('='));
    }
    return response;
  }

  // walk goes on until a redirect leaves the server or a page has no form that
  // it knows. A form that leads elsewhere is returned as a POST request.
  async walk(url) {
    let at = new URL(url);
    let response = await this.fetch(at);
    for (let step = 0; step < 12; step++) {
      const location = response.headers.get('location');
      if (location) {
        at = new URL(location, at);
        if (at.origin !== issuer.origin) return { url: at };
        response = await this.fetch(at);
        continue;
      }
      const text = await response.text();
      const form = /<form[^>]*action="([^"]*)"/.exec(text);
      if (!form) return { text, status: response.status };
      const body = new URLSearchParams();
      for (const [tag] of text.matchAll(/<input[^>]*>/g)) {
        const attribute = (name) => decode(new RegExp(`\\b${name}="([^"]*)"`).exec(tag)?.[1] ?? '');
        const name = attribute('name');
        if (name === 'username') body.set(name, env('OAUTHREG_USER'));
        else if (name === 'password') body.set(name, env('OAUTHREG_PASSWORD'));
        else if (name) body.set(name, attribute('value'));
      }
      if (text.includes('name="decision"')) body.set('decision', 'allow');
      at = new URL(decode(form[1]), at);
      if (at.origin !== issuer.origin) {
        return { request: new Request(at, { method: 'POST', body, headers: { 'content-type': 'application/x-www-form-urlencoded' } }), url: at };
      }
      response = await this.fetch(at, { method: 'POST', body });
    }
    assert.fail(`the walk from ${url} does not end`);
  }
}

const decode = (text) =>
  text.replace(/&#(\d+);/g, (_, n) => String.fromCodePoint(n)).replaceAll('&quot;', '"').replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&amp;', '&');

const discover = (id, metadata, auth) => client.discovery(issuer, id, metadata, auth, insecure);
const basic = () => discover(clients.basic.id, { client_secret: clients.basic.secret }, client.ClientSecretBasic(clients.basic.secret));
const importKey = (jwk) => crypto.subtle.importKey('jwk', jwk, { name: 'ECDSA', namedCurve: jwk.crv }, false, ['sign']);

// signIn is the code flow with everything that openid-client checks.
async function signIn(config, { browser = new Browser(), more = {}, build = (url) => url, ...checks } = {}) {
  const pkceCodeVerifier = client.randomPKCECodeVerifier();
  const expectedState = client.randomState();
  const expectedNonce = client.randomNonce();
  const url = await build({
    redirect_uri: callback, scope, state: expectedState, nonce: expectedNonce,
    code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier), code_challenge_method: 'S256', ...more,
  });
  const answer = await browser.walk(url instanceof URL ? url : client.buildAuthorizationUrl(config, url));
  const tokens = await client.authorizationCodeGrant(config, answer.request ?? answer.url, {
    pkceCodeVerifier, expectedState, expectedNonce, idTokenExpected: true, ...checks,
  });
  return { browser, tokens, claims: tokens.claims() };
}

test('code flow, userinfo, refresh, introspection, revocation', async () => {
  const config = await basic();
  const { tokens, claims } = await signIn(config, { more: { max_age: '300' }, maxAge: 300 });
  assert.equal(claims.sub, 'sub-alice');
  assert.equal(typeof claims.auth_time, 'number');

  const info = await client.fetchUserInfo(config, tokens.access_token, claims.sub);
  assert.equal(info.email, 'alice@example.com');
  assert.equal(info.email_verified, true);
  assert.equal(info.name, 'Alice');

  const fresh = await client.refreshTokenGrant(config, tokens.refresh_token);
  assert.notEqual(fresh.access_token, tokens.access_token);
  assert.equal(fresh.claims().sub, claims.sub);

  const seen = await client.tokenIntrospection(config, fresh.access_token);
  assert.equal(seen.active, true);
  assert.equal(seen.sub, claims.sub);
  await client.tokenRevocation(config, fresh.refresh_token);
  assert.equal((await client.tokenIntrospection(config, fresh.access_token)).active, false);
  await assert.rejects(client.refreshTokenGrant(config, fresh.refresh_token), { error: 'invalid_grant' });
});

test('public client', async () => {
  const config = await discover(clients.public.id, undefined, client.None());
  const { tokens, claims } = await signIn(config);
  const info = await client.fetchUserInfo(config, tokens.access_token, claims.sub);
  assert.equal(info.sub, 'sub-alice');
  assert.ok((await client.refreshTokenGrant(config, tokens.refresh_token)).access_token);
});

test('form_post', async () => {
  const config = await basic();
  const { claims } = await signIn(config, { more: { response_mode: 'form_post' } });
  assert.equal(claims.sub, 'sub-alice');
});

test('the claims parameter', async () => {
  const config = await basic();
  const { claims } = await signIn(config, { more: { scope: 'openid', claims: JSON.stringify({ id_token: { email: { essential: true } } }) } });
  assert.equal(claims.email, 'alice@example.com');
});

test('private_key_jwt and signed request objects', async () => {
  const key = { key: await importKey(clients.key.jwk), kid: clients.key.jwk.kid };
  const config = await discover(clients.key.id, undefined, client.PrivateKeyJwt(key));
  const { tokens, claims } = await signIn(config, {
    build: (parameters) => client.buildAuthorizationUrlWithJAR(config, parameters, key),
  });
  assert.equal(claims.sub, 'sub-alice');
  assert.equal((await client.tokenIntrospection(config, tokens.access_token)).active, true);

  // Another key signs nothing.
  const { privateKey } = await client.randomDPoPKeyPair('ES256');
  const url = await client.buildAuthorizationUrlWithJAR(config, { redirect_uri: callback, scope: 'openid' }, { key: privateKey, kid: key.kid });
  const answer = await new Browser().walk(url);
  assert.equal(answer.url.searchParams.get('error'), 'invalid_request_object');
});

test('errors reach the client with iss and state', async () => {
  const config = await basic();
  const expectedState = client.randomState();
  const url = client.buildAuthorizationUrl(config, {
    redirect_uri: callback, scope, state: expectedState, prompt: 'none', code_challenge: await client.calculatePKCECodeChallenge(client.randomPKCECodeVerifier()), code_challenge_method: 'S256',
  });
  const answer = await new Browser().walk(url);
  await assert.rejects(client.authorizationCodeGrant(config, answer.url, { expectedState }), { error: 'login_required' });
});

test('logout', async () => {
  const config = await basic();
  const { browser, tokens } = await signIn(config);
  const out = client.buildEndSessionUrl(config, { id_token_hint: tokens.id_token, post_logout_redirect_uri: bye, state: 's-1' });
  const answer = await browser.walk(out);
  assert.equal(answer.url.href, bye + '?state=s-1');
  const again = await browser.walk(client.buildAuthorizationUrl(config, {
    redirect_uri: callback, scope, prompt: 'none', code_challenge: await client.calculatePKCECodeChallenge(client.randomPKCECodeVerifier()), code_challenge_method: 'S256',
  }));
  assert.equal(again.url.searchParams.get('error'), 'login_required');
});

test('oauth4webapi: discovery by both documents, code flow', async () => {
  const as = await oauth.discoveryRequest(issuer, http).then((r) => oauth.processDiscoveryResponse(issuer, r));
  const other = await oauth.discoveryRequest(issuer, { ...http, algorithm: 'oauth2' }).then((r) => oauth.processDiscoveryResponse(issuer, r));
  assert.deepEqual(as, other);

  const c = { client_id: clients.basic.id };
  const auth = oauth.ClientSecretBasic(clients.basic.secret);
  const verifier = oauth.generateRandomCodeVerifier();
  const state = oauth.generateRandomState();
  const nonce = oauth.generateRandomNonce();
  const url = new URL(as.authorization_endpoint);
  url.search = new URLSearchParams({
    client_id: c.client_id, redirect_uri: callback, response_type: 'code', scope: 'openid email', state, nonce,
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256',
  });
  const answer = await new Browser().walk(url);
  const parameters = oauth.validateAuthResponse(as, c, answer.url, state);
  const response = await oauth.authorizationCodeGrantRequest(as, c, auth, parameters, callback, verifier, http);
  const tokens = await oauth.processAuthorizationCodeResponse(as, c, response, { expectedNonce: nonce, requireIdToken: true });
  await oauth.validateApplicationLevelSignature(as, response, http);
  const claims = oauth.getValidatedIdTokenClaims(tokens);
  const info = await oauth.userInfoRequest(as, c, tokens.access_token, http);
  assert.equal((await oauth.processUserInfoResponse(as, c, claims.sub, info)).email, 'alice@example.com');

  // A token that is none is refused with a challenge that can be read.
  const refused = await oauth.userInfoRequest(as, c, 'made-up', http);
  await assert.rejects(oauth.processUserInfoResponse(as, c, claims.sub, refused), (err) => {
    assert.equal(err.cause[0].scheme, 'bearer');
    assert.equal(err.cause[0].parameters.error, 'invalid_token');
    return true;
  });
});

test('dynamic registration', { skip: process.env.OAUTHREG_REGISTRATION !== '1' && 'registration is closed' }, async () => {
  const config = await client.dynamicClientRegistration(issuer, {
    client_name: 'Registered by openid-client', redirect_uris: [callback], grant_types: ['authorization_code', 'refresh_token'],
    token_endpoint_auth_method: 'client_secret_post', scope, post_logout_redirect_uris: [bye],
    subject_type: 'pairwise', userinfo_signed_response_alg: 'ES256', default_max_age: 3600, require_auth_time: true,
    backchannel_logout_uri: 'https://client.example/backchannel', backchannel_logout_session_required: true,
  }, undefined, insecure);
  const metadata = config.clientMetadata();
  assert.equal(metadata.subject_type, 'pairwise');
  assert.equal(metadata.userinfo_signed_response_alg, 'ES256');
  assert.equal(metadata.default_max_age, 3600);
  const { tokens, claims } = await signIn(config);
  assert.notEqual(claims.sub, 'sub-alice');
  client.allowInsecureRequests(config);
  const info = await client.fetchUserInfo(config, tokens.access_token, claims.sub);
  assert.equal(info.email, 'alice@example.com');
});
