// The clients of the official TypeScript SDK of MCP, unchanged, against an MCP
// server that this authorization server protects: "@modelcontextprotocol/sdk", and
// "@modelcontextprotocol/client", in which version 2 has it.
//
//   MCP_PACKAGE                   which of the two
//   MCP_URL                       the MCP server
//   MCP_USER, MCP_PASSWORD        somebody who can sign in
//   MCP_DOCUMENT                  client_id that is the URL of a metadata document
//   MCP_CLIENT, MCP_CLIENT_SECRET a client that the operator registered
//   MCP_CLOCK                     where the server's clock can be set forward

import assert from 'node:assert/strict';
import { test } from 'node:test';

const env = (name) => {
  const value = process.env[name];
  assert.ok(value, `${name} is not set`);
  return value;
};
const { Client, StreamableHTTPClientTransport, UnauthorizedError } = await {
  '@modelcontextprotocol/client': () => import('@modelcontextprotocol/client'),
  '@modelcontextprotocol/sdk': async () => ({
    ...(await import('@modelcontextprotocol/sdk/client/index.js')),
    ...(await import('@modelcontextprotocol/sdk/client/streamableHttp.js')),
    ...(await import('@modelcontextprotocol/sdk/client/auth.js')),
  }),
}[env('MCP_PACKAGE')]();
const server = new URL(env('MCP_URL'));
const callback = 'http://127.0.0.1:53682/callback'; // nothing listens there

const decode = (text) =>
  text.replace(/&#(\d+);/g, (_, n) => String.fromCodePoint(n)).replaceAll('&quot;', '"').replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&amp;', '&');

// browse signs the user in, allows what is asked, and returns where the browser
// ends: at the client.
async function browse(url) {
  const cookies = new Map();
  const load = async (at, init = {}) => {
    const headers = { cookie: [...cookies].map(([k, v]) => `${k}=${v}`).join('; ') };
    const response = await fetch(at, { ...init, headers, redirect: 'manual' });
    for (const line of response.headers.getSetCookie()) {
      const [name, ...value] = line.split(';')[0].split('=');
      cookies.set(name, value.join('='));
    }
    return response;
  };
  let at = new URL(url);
  let response = await load(at);
  for (let step = 0; step < 12; step++) {
    const location = response.headers.get('location');
    if (location) {
      at = new URL(location, at);
      if (at.origin !== server.origin) return at;
      response = await load(at);
      continue;
    }
    const text = await response.text();
    const form = /<form[^>]*action="([^"]*)"/.exec(text);
    assert.ok(form, `a page without a form: ${response.status}\n${text.replace(/<style>[^]*<\/style>/, '')}`);
    const body = new URLSearchParams();
    for (const [tag] of text.matchAll(/<input[^>]*>/g)) {
      const attribute = (name) => decode(new RegExp(`\\b${name}="([^"]*)"`).exec(tag)?.[1] ?? '');
      const name = attribute('name');
      if (name === 'username') body.set(name, env('MCP_USER'));
      else if (name === 'password') body.set(name, env('MCP_PASSWORD'));
      else if (name) body.set(name, attribute('value'));
    }
    if (text.includes('name="decision"')) body.set('decision', 'allow');
    at = new URL(decode(form[1]), at);
    response = await load(at, { method: 'POST', body });
  }
  assert.fail(`the walk from ${url} does not end`);
}

// Provider is what an application implements: it remembers, and has a browser.
class Provider {
  visits = 0;
  saved = {};

  constructor({ metadata = {}, clientMetadataUrl, information } = {}) {
    this.metadata = metadata;
    this.clientMetadataUrl = clientMetadataUrl;
    this.information = information;
  }

  get redirectUrl() { return callback; }
  get clientMetadata() {
    return {
      client_name: 'TypeScript client', redirect_uris: [callback], response_types: ['code'],
      grant_types: ['authorization_code', 'refresh_token'], token_endpoint_auth_method: 'none', ...this.metadata,
    };
  }
  state() { return (this.saved.state = crypto.randomUUID()); }
  clientInformation() { return this.information; }
  saveClientInformation(information) { this.information = information; }
  tokens() { return this.saved.tokens; }
  saveTokens(tokens) { this.saved.tokens = tokens; }
  codeVerifier() { return this.saved.verifier; }
  saveCodeVerifier(verifier) { this.saved.verifier = verifier; }
  discoveryState() { return this.saved.discovery; }
  saveDiscoveryState(state) { this.saved.discovery = state; }
  async redirectToAuthorization(url) {
    this.visits++;
    this.saved.url = url;
    this.saved.end = await browse(url);
  }
}

// connect authorizes if it has to, and connects.
async function connect(provider) {
  for (const last of [false, true]) {
    const client = new Client({ name: 'test', version: '1' });
    const transport = new StreamableHTTPClientTransport(server, { authProvider: provider });
    try {
      await client.connect(transport);
      return client;
    } catch (error) {
      if (last || !(error instanceof UnauthorizedError)) throw error;
      const { end, state } = provider.saved;
      assert.equal(end.origin + end.pathname, callback, `the browser ends at ${end}`);
      assert.equal(end.searchParams.get('state'), state);
      assert.equal(end.searchParams.get('iss'), server.origin);
      await transport.finishAuth(end.searchParams.get('code'), end.searchParams.get('iss')); // which version 2 checks
    }
  }
}

async function whoami(client) {
  const result = await client.callTool({ name: 'whoami', arguments: {} });
  assert.equal(result.isError ?? false, false);
  return result.content[0].text;
}

for (const [name, options, check] of [
  ['dynamic registration', {}, (p) => assert.equal(p.information.client_secret, undefined)],
  ['dynamic registration, confidential', { metadata: { token_endpoint_auth_method: 'client_secret_basic' } }, (p) => assert.ok(p.information.client_secret)],
  ['metadata document', { clientMetadataUrl: env('MCP_DOCUMENT') }, (p) => assert.equal(p.information.client_id, env('MCP_DOCUMENT'))],
  ['registered beforehand', { information: { client_id: env('MCP_CLIENT'), client_secret: env('MCP_CLIENT_SECRET') } }, () => {}],
]) {
  test(name, async () => {
    const provider = new Provider(options);
    const client = await connect(provider);
    const { searchParams } = provider.saved.url;
    assert.equal(searchParams.get('resource'), server.href);
    assert.equal(searchParams.get('code_challenge_method'), 'S256');
    check(provider);
    assert.match(await whoami(client), /^You are demo, through the client /);
    assert.ok(await whoami(client).then((text) => text.includes(provider.information.client_id)));

    // The access token expires: the client refreshes, and nobody notices.
    const before = provider.saved.tokens;
    const response = await fetch(`${env('MCP_CLOCK')}?add=7200`, { method: 'POST' });
    assert.equal(response.status, 200);
    assert.match(await whoami(client), /^You are demo/);
    assert.notEqual(provider.saved.tokens.access_token, before.access_token);
    assert.equal(provider.visits, 1);
    await client.close();

    // A later run of the application still has the tokens.
    const again = await connect(provider);
    assert.match(await whoami(again), /^You are demo/);
    assert.equal(provider.visits, 1);
    await again.close();
  });
}
