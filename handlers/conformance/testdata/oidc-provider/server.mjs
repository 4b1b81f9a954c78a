// The npm package "oidc-provider" as an authorization server on a free port of
// the loopback address, with its own development pages. Prints its issuer, and
// ends when stdin does.
//
//   CONFORMANCE_CLIENTS   JSON: the clients, as the package takes them
//   CONFORMANCE_RESOURCE  a resource that tokens can be asked for

import { createServer } from 'node:http';
import { once } from 'node:events';
import Provider, { errors } from 'oidc-provider';

const server = createServer();
server.listen(0, '127.0.0.1');
await once(server, 'listening');
const issuer = `http://127.0.0.1:${server.address().port}`;
const resource = process.env.CONFORMANCE_RESOURCE;

const provider = new Provider(issuer, {
  clients: JSON.parse(process.env.CONFORMANCE_CLIENTS),
  scopes: ['openid', 'offline_access', 'read'],
  cookies: { keys: ['for this test only'] },
  findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  features: {
    devInteractions: { enabled: true },
    clientCredentials: { enabled: true },
    introspection: { enabled: true },
    revocation: { enabled: true },
    registration: { enabled: true },
    registrationManagement: { enabled: true },
    rpInitiatedLogout: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => undefined,
      useGrantedResource: () => true,
      getResourceServerInfo: (ctx, asked) => {
        if (asked !== resource) throw new errors.InvalidTarget();
        return { scope: 'read', accessTokenFormat: 'jwt', jwt: { sign: { alg: 'RS256' } } };
      },
    },
  },
});
server.on('request', provider.callback());
console.log(`listening on ${issuer}`);
process.stdin.on('end', () => process.exit(0)).resume();
