-- The first schema.
--
-- "oauthreg_" stands for the configured prefix. Times are whole microseconds
-- since 1970 UTC; an end that does not come is 9223372036854775807. Digests are
-- SHA-256, 32 bytes. "Sealed" columns are AES-256-GCM, bound to their row; see
-- seal.go. Tables whose rows are small and found by their key alone are WITHOUT
-- ROWID; the others are better kept in order of insertion.

-- Registered clients (RFC 7591). data is the whole client; the columns before
-- it are what listings select and order by.
CREATE TABLE oauthreg_clients (
    id                 TEXT    NOT NULL PRIMARY KEY, -- internal, never on the wire
    client_id          TEXT    NOT NULL,
    incarnation        INTEGER NOT NULL,             -- random; tells a client from a later one with the same id
    revision           INTEGER NOT NULL,             -- grows with every change of the row
    org_id             TEXT    NOT NULL,
    project_id         TEXT    NOT NULL,
    user_id            TEXT    NOT NULL,
    name               TEXT    NOT NULL,
    name_folded        TEXT    NOT NULL,             -- ASCII letters lowered
    type               TEXT    NOT NULL,
    grant_types        TEXT    NOT NULL,             -- " authorization_code refresh_token "
    verified           INTEGER NOT NULL,
    self_registered    INTEGER NOT NULL,
    suspended_at       INTEGER,                      -- NULL: enabled
    created_at         INTEGER NOT NULL,
    updated_at         INTEGER NOT NULL,
    version            INTEGER NOT NULL,
    data               TEXT    NOT NULL,             -- JSON of oauthreg.Client
    secrets            TEXT    NOT NULL,             -- JSON of []oauthreg.Secret: hashes, never secrets
    registration_token BLOB                          -- digest (RFC 7592 §3)
);
CREATE UNIQUE INDEX oauthreg_clients_client_id ON oauthreg_clients (client_id);
CREATE INDEX oauthreg_clients_created_at ON oauthreg_clients (created_at, id);
CREATE INDEX oauthreg_clients_owner ON oauthreg_clients (org_id, project_id, created_at, id);
CREATE INDEX oauthreg_clients_org ON oauthreg_clients (org_id, created_at, id);
CREATE INDEX oauthreg_clients_self ON oauthreg_clients (self_registered, created_at, id);
CREATE INDEX oauthreg_clients_name ON oauthreg_clients (name);

-- When a client secret last authenticated. Apart from the clients, so that
-- noting it does not change a client's revision.
CREATE TABLE oauthreg_client_secret_uses (
    secret_id    TEXT    NOT NULL PRIMARY KEY,
    last_used_at INTEGER NOT NULL
) WITHOUT ROWID;

-- Permissions to register (RFC 7591 §1.2).
CREATE TABLE oauthreg_initial_access_tokens (
    id         TEXT    NOT NULL PRIMARY KEY,
    digest     BLOB    NOT NULL,             -- the registry's own, keyed
    data       TEXT    NOT NULL,             -- JSON of oauthreg.InitialAccessToken
    max_uses   INTEGER NOT NULL,             -- 0: any number
    uses       INTEGER NOT NULL,             -- this counts, not the one in data
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
);
CREATE UNIQUE INDEX oauthreg_initial_access_tokens_digest ON oauthreg_initial_access_tokens (digest);

-- Who changed which client, written in the transaction of the change. Never
-- deleted by the store.
CREATE TABLE oauthreg_audit_log (
    id               TEXT    NOT NULL PRIMARY KEY, -- UUID version 7: in order of time
    at               INTEGER NOT NULL,
    action           TEXT    NOT NULL,
    actor_kind       TEXT    NOT NULL,
    actor_id         TEXT    NOT NULL,
    actor_request_id TEXT    NOT NULL,
    actor_address    TEXT    NOT NULL,
    client_id        TEXT    NOT NULL,             -- oauthreg_clients.id, which may be gone
    org_id           TEXT    NOT NULL,
    project_id       TEXT    NOT NULL,
    before_json      TEXT,
    after_json       TEXT
);
CREATE INDEX oauthreg_audit_log_client ON oauthreg_audit_log (client_id, id);
CREATE INDEX oauthreg_audit_log_owner ON oauthreg_audit_log (org_id, project_id, id);

-- What a user allowed a client, remembered. One row per client and subject; the
-- id follows from the two.
CREATE TABLE oauthreg_consents (
    id           TEXT    NOT NULL PRIMARY KEY,
    client_id    TEXT    NOT NULL,             -- oauthreg_clients.id, as everywhere below
    subject      TEXT    NOT NULL,
    scopes       TEXT    NOT NULL,             -- JSON array
    resources    TEXT    NOT NULL,             -- JSON array
    created_at   INTEGER NOT NULL,
    last_used_at INTEGER NOT NULL,
    uses         INTEGER NOT NULL
);
CREATE UNIQUE INDEX oauthreg_consents_client_subject ON oauthreg_consents (client_id, subject);
CREATE INDEX oauthreg_consents_subject ON oauthreg_consents (subject, created_at);

-- Authorizations: the parents of codes and tokens, which are worth nothing
-- unless this row says so. Revoking is setting revoked_at.
CREATE TABLE oauthreg_grants (
    id           TEXT    NOT NULL PRIMARY KEY, -- the request id of all beneath
    client_id    TEXT    NOT NULL,
    subject      TEXT    NOT NULL,
    session_id   TEXT,                         -- sid of the sign-in
    consent_id   TEXT,
    scopes       TEXT    NOT NULL,             -- JSON array
    resources    TEXT    NOT NULL,             -- JSON array
    created_at   INTEGER NOT NULL,
    last_used_at INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    revoked_at   INTEGER,
    uses         INTEGER NOT NULL
);
CREATE INDEX oauthreg_grants_client ON oauthreg_grants (client_id, created_at);
CREATE INDEX oauthreg_grants_subject ON oauthreg_grants (subject, created_at);
CREATE INDEX oauthreg_grants_session ON oauthreg_grants (session_id) WHERE session_id IS NOT NULL;
CREATE INDEX oauthreg_grants_consent ON oauthreg_grants (consent_id) WHERE consent_id IS NOT NULL;
CREATE INDEX oauthreg_grants_expires_at ON oauthreg_grants (expires_at);
CREATE INDEX oauthreg_grants_revoked_at ON oauthreg_grants (revoked_at) WHERE revoked_at IS NOT NULL;

-- Authorization codes (RFC 6749 §4.1.2), each with its PKCE challenge and
-- OpenID Connect session. Used rows stay as long as their grant: finding one
-- used is how replay is noticed.
CREATE TABLE oauthreg_authorize_codes (
    signature  BLOB    NOT NULL PRIMARY KEY, -- digest of the code's signature
    grant_id   TEXT    NOT NULL,
    client_id  TEXT    NOT NULL,
    subject    TEXT    NOT NULL,
    request    BLOB    NOT NULL,             -- sealed storedRequest and session, see request_codec.go
    pkce       BLOB,                         -- the same for the PKCE handler's view (RFC 7636)
    openid     BLOB,                         -- the same for the OpenID Connect handler's view
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at    INTEGER
);
CREATE INDEX oauthreg_authorize_codes_grant ON oauthreg_authorize_codes (grant_id);
CREATE INDEX oauthreg_authorize_codes_expires_at ON oauthreg_authorize_codes (used_at, expires_at);

-- Access tokens. Those of client_credentials have no grant: their grant_id is
-- the request's id, and incarnation is that of the client they were issued to.
CREATE TABLE oauthreg_access_tokens (
    signature   BLOB    NOT NULL PRIMARY KEY, -- digest of the token's signature
    grant_id    TEXT    NOT NULL,
    client_id   TEXT    NOT NULL,
    incarnation INTEGER,                      -- NULL: there is a grant
    subject     TEXT    NOT NULL,
    request     BLOB    NOT NULL,             -- sealed
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL
);
CREATE INDEX oauthreg_access_tokens_grant ON oauthreg_access_tokens (grant_id);
CREATE INDEX oauthreg_access_tokens_expires_at ON oauthreg_access_tokens (expires_at);

-- Refresh tokens. Used rows stay as long as their grant, as with codes.
CREATE TABLE oauthreg_refresh_tokens (
    signature        BLOB    NOT NULL PRIMARY KEY, -- digest of the token's signature
    grant_id         TEXT    NOT NULL,
    client_id        TEXT    NOT NULL,
    subject          TEXT    NOT NULL,
    access_signature BLOB,                         -- digest; the access token issued beside it
    request          BLOB    NOT NULL,             -- sealed
    created_at       INTEGER NOT NULL,
    expires_at       INTEGER NOT NULL,
    first_used_at    INTEGER,
    used_times       INTEGER NOT NULL
);
CREATE INDEX oauthreg_refresh_tokens_grant ON oauthreg_refresh_tokens (grant_id);
CREATE INDEX oauthreg_refresh_tokens_expires_at ON oauthreg_refresh_tokens (first_used_at, expires_at);

-- Assertion ids that were used (RFC 7523 §3 item 7).
CREATE TABLE oauthreg_assertions (
    jti        BLOB    NOT NULL PRIMARY KEY, -- digest
    expires_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX oauthreg_assertions_expires_at ON oauthreg_assertions (expires_at);

-- Authorization requests that wait for a person. Finished rows stay until they
-- expire, so that a second submission is recognized.
CREATE TABLE oauthreg_interactions (
    handle      BLOB    NOT NULL PRIMARY KEY, -- digest
    browser     BLOB,                         -- digest
    client_id   TEXT    NOT NULL,
    subject     TEXT    NOT NULL,
    session_id  TEXT    NOT NULL,
    request     BLOB    NOT NULL,             -- sealed
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    finished_at INTEGER
);
CREATE INDEX oauthreg_interactions_expires_at ON oauthreg_interactions (expires_at);

-- Sessions of the built-in sign-in.
CREATE TABLE oauthreg_login_sessions (
    handle              BLOB    NOT NULL PRIMARY KEY, -- digest of the cookie's value
    session_id          TEXT    NOT NULL,             -- sid, not a credential
    subject             TEXT    NOT NULL,
    auth_time           INTEGER,
    amr                 TEXT    NOT NULL,             -- JSON array
    acr                 TEXT    NOT NULL,
    user_agent          TEXT    NOT NULL,
    created_at          INTEGER NOT NULL,
    last_seen_at        INTEGER NOT NULL,
    absolute_expires_at INTEGER NOT NULL,
    idle_expires_at     INTEGER NOT NULL,
    expires_at          INTEGER NOT NULL,             -- the earlier of the two
    touches             INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX oauthreg_login_sessions_session ON oauthreg_login_sessions (session_id);
CREATE INDEX oauthreg_login_sessions_subject ON oauthreg_login_sessions (subject, created_at);
CREATE INDEX oauthreg_login_sessions_expires_at ON oauthreg_login_sessions (expires_at);

-- The server's own signing keys. Never deleted by the store.
CREATE TABLE oauthreg_signing_keys (
    kid         TEXT    NOT NULL PRIMARY KEY,
    alg         TEXT    NOT NULL,
    private_key BLOB    NOT NULL,             -- sealed PKCS #8
    created_at  INTEGER NOT NULL,
    active_at   INTEGER,
    retired_at  INTEGER,
    expires_at  INTEGER,
    changes     INTEGER NOT NULL
);

-- Counts of changes, by which a change that was made on older data is noticed.
CREATE TABLE oauthreg_counters (
    name TEXT    NOT NULL PRIMARY KEY,
    n    INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO oauthreg_counters (name, n) VALUES ('signing_keys', 0);
