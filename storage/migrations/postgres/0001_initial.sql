-- The first schema.
--
-- "oauthreg_" stands for the configured prefix. Times are whole microseconds
-- since 1970 UTC; an end that does not come is 9223372036854775807. Digests are
-- SHA-256, 32 bytes. "Sealed" columns are AES-256-GCM, bound to their row; see
-- seal.go. What is compared or ordered has the collation "C", which orders by
-- bytes, whatever the database's own is.

-- Registered clients (RFC 7591). data is the whole client; the columns before
-- it are what listings select and order by.
CREATE TABLE oauthreg_clients (
    id                 TEXT COLLATE "C" NOT NULL PRIMARY KEY, -- internal, never on the wire
    client_id          TEXT COLLATE "C" NOT NULL,
    incarnation        BIGINT           NOT NULL,             -- random; tells a client from a later one with the same id
    revision           BIGINT           NOT NULL,             -- grows with every change of the row
    org_id             TEXT COLLATE "C" NOT NULL,
    project_id         TEXT COLLATE "C" NOT NULL,
    user_id            TEXT COLLATE "C" NOT NULL,
    name               TEXT COLLATE "C" NOT NULL,
    name_folded        TEXT COLLATE "C" NOT NULL,             -- ASCII letters lowered
    type               TEXT COLLATE "C" NOT NULL,
    grant_types        TEXT COLLATE "C" NOT NULL,             -- " authorization_code refresh_token "
    verified           BIGINT           NOT NULL,
    self_registered    BIGINT           NOT NULL,
    suspended_at       BIGINT,                                -- NULL: enabled
    created_at         BIGINT           NOT NULL,
    updated_at         BIGINT           NOT NULL,
    version            BIGINT           NOT NULL,
    data               TEXT             NOT NULL,             -- JSON of oauthreg.Client
    secrets            TEXT             NOT NULL,             -- JSON of []oauthreg.Secret: hashes, never secrets
    registration_token BYTEA                                  -- digest (RFC 7592 §3)
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
    secret_id    TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    last_used_at BIGINT           NOT NULL
);

-- Permissions to register (RFC 7591 §1.2).
CREATE TABLE oauthreg_initial_access_tokens (
    id         TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    digest     BYTEA            NOT NULL, -- the registry's own, keyed
    data       TEXT             NOT NULL, -- JSON of oauthreg.InitialAccessToken
    max_uses   BIGINT           NOT NULL, -- 0: any number
    uses       BIGINT           NOT NULL, -- this counts, not the one in data
    created_at BIGINT           NOT NULL,
    expires_at BIGINT           NOT NULL
);
CREATE UNIQUE INDEX oauthreg_initial_access_tokens_digest ON oauthreg_initial_access_tokens (digest);

-- Who changed which client, written in the transaction of the change. Never
-- deleted by the store.
CREATE TABLE oauthreg_audit_log (
    id               TEXT COLLATE "C" NOT NULL PRIMARY KEY, -- UUID version 7: in order of time
    at               BIGINT           NOT NULL,
    action           TEXT COLLATE "C" NOT NULL,
    actor_kind       TEXT COLLATE "C" NOT NULL,
    actor_id         TEXT             NOT NULL,
    actor_request_id TEXT             NOT NULL,
    actor_address    TEXT             NOT NULL,
    client_id        TEXT COLLATE "C" NOT NULL,             -- oauthreg_clients.id, which may be gone
    org_id           TEXT COLLATE "C" NOT NULL,
    project_id       TEXT COLLATE "C" NOT NULL,
    before_json      TEXT,
    after_json       TEXT
);
CREATE INDEX oauthreg_audit_log_client ON oauthreg_audit_log (client_id, id);
CREATE INDEX oauthreg_audit_log_owner ON oauthreg_audit_log (org_id, project_id, id);

-- What a user allowed a client, remembered. One row per client and subject; the
-- id follows from the two.
CREATE TABLE oauthreg_consents (
    id           TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    client_id    TEXT COLLATE "C" NOT NULL, -- oauthreg_clients.id, as everywhere below
    subject      TEXT COLLATE "C" NOT NULL,
    scopes       TEXT             NOT NULL, -- JSON array
    resources    TEXT             NOT NULL, -- JSON array
    created_at   BIGINT           NOT NULL,
    last_used_at BIGINT           NOT NULL,
    uses         BIGINT           NOT NULL
);
CREATE UNIQUE INDEX oauthreg_consents_client_subject ON oauthreg_consents (client_id, subject);
CREATE INDEX oauthreg_consents_subject ON oauthreg_consents (subject, created_at);

-- Authorizations: the parents of codes and tokens, which are worth nothing
-- unless this row says so. Revoking is setting revoked_at.
CREATE TABLE oauthreg_grants (
    id           TEXT COLLATE "C" NOT NULL PRIMARY KEY, -- the request id of all beneath
    client_id    TEXT COLLATE "C" NOT NULL,
    subject      TEXT COLLATE "C" NOT NULL,
    session_id   TEXT COLLATE "C",                      -- sid of the sign-in
    consent_id   TEXT COLLATE "C",
    scopes       TEXT             NOT NULL,             -- JSON array
    resources    TEXT             NOT NULL,             -- JSON array
    created_at   BIGINT           NOT NULL,
    last_used_at BIGINT           NOT NULL,
    expires_at   BIGINT           NOT NULL,
    revoked_at   BIGINT,
    uses         BIGINT           NOT NULL
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
    signature  BYTEA            NOT NULL PRIMARY KEY, -- digest of the code's signature
    grant_id   TEXT COLLATE "C" NOT NULL,
    client_id  TEXT COLLATE "C" NOT NULL,
    subject    TEXT COLLATE "C" NOT NULL,
    request    BYTEA            NOT NULL,             -- sealed storedRequest and session, see request_codec.go
    pkce       BYTEA,                                 -- the same for the PKCE handler's view (RFC 7636)
    openid     BYTEA,                                 -- the same for the OpenID Connect handler's view
    created_at BIGINT           NOT NULL,
    expires_at BIGINT           NOT NULL,
    used_at    BIGINT
);
CREATE INDEX oauthreg_authorize_codes_grant ON oauthreg_authorize_codes (grant_id);
CREATE INDEX oauthreg_authorize_codes_expires_at ON oauthreg_authorize_codes (used_at, expires_at);

-- Access tokens. Those of client_credentials have no grant: their grant_id is
-- the request's id, and incarnation is that of the client they were issued to.
CREATE TABLE oauthreg_access_tokens (
    signature   BYTEA            NOT NULL PRIMARY KEY, -- digest of the token's signature
    grant_id    TEXT COLLATE "C" NOT NULL,
    client_id   TEXT COLLATE "C" NOT NULL,
    incarnation BIGINT,                                -- NULL: there is a grant
    subject     TEXT COLLATE "C" NOT NULL,
    request     BYTEA            NOT NULL,             -- sealed
    created_at  BIGINT           NOT NULL,
    expires_at  BIGINT           NOT NULL
);
CREATE INDEX oauthreg_access_tokens_grant ON oauthreg_access_tokens (grant_id);
CREATE INDEX oauthreg_access_tokens_expires_at ON oauthreg_access_tokens (expires_at);

-- Refresh tokens. Used rows stay as long as their grant, as with codes.
CREATE TABLE oauthreg_refresh_tokens (
    signature        BYTEA            NOT NULL PRIMARY KEY, -- digest of the token's signature
    grant_id         TEXT COLLATE "C" NOT NULL,
    client_id        TEXT COLLATE "C" NOT NULL,
    subject          TEXT COLLATE "C" NOT NULL,
    access_signature BYTEA,                                 -- digest; the access token issued beside it
    request          BYTEA            NOT NULL,             -- sealed
    created_at       BIGINT           NOT NULL,
    expires_at       BIGINT           NOT NULL,
    first_used_at    BIGINT,
    used_times       BIGINT           NOT NULL
);
CREATE INDEX oauthreg_refresh_tokens_grant ON oauthreg_refresh_tokens (grant_id);
CREATE INDEX oauthreg_refresh_tokens_expires_at ON oauthreg_refresh_tokens (first_used_at, expires_at);

-- Assertion ids that were used (RFC 7523 §3 item 7).
CREATE TABLE oauthreg_assertions (
    jti        BYTEA  NOT NULL PRIMARY KEY, -- digest
    expires_at BIGINT NOT NULL
);
CREATE INDEX oauthreg_assertions_expires_at ON oauthreg_assertions (expires_at);

-- Authorization requests that wait for a person. Finished rows stay until they
-- expire, so that a second submission is recognized.
CREATE TABLE oauthreg_interactions (
    handle      BYTEA            NOT NULL PRIMARY KEY, -- digest
    browser     BYTEA,                                 -- digest
    client_id   TEXT COLLATE "C" NOT NULL,
    subject     TEXT COLLATE "C" NOT NULL,
    session_id  TEXT COLLATE "C" NOT NULL,
    request     BYTEA            NOT NULL,             -- sealed
    created_at  BIGINT           NOT NULL,
    expires_at  BIGINT           NOT NULL,
    finished_at BIGINT
);
CREATE INDEX oauthreg_interactions_expires_at ON oauthreg_interactions (expires_at);

-- Sessions of the built-in sign-in.
CREATE TABLE oauthreg_login_sessions (
    handle              BYTEA            NOT NULL PRIMARY KEY, -- digest of the cookie's value
    session_id          TEXT COLLATE "C" NOT NULL,             -- sid, not a credential
    subject             TEXT COLLATE "C" NOT NULL,
    auth_time           BIGINT,
    amr                 TEXT             NOT NULL,             -- JSON array
    acr                 TEXT COLLATE "C" NOT NULL,
    user_agent          TEXT             NOT NULL,
    created_at          BIGINT           NOT NULL,
    last_seen_at        BIGINT           NOT NULL,
    absolute_expires_at BIGINT           NOT NULL,
    idle_expires_at     BIGINT           NOT NULL,
    expires_at          BIGINT           NOT NULL,             -- the earlier of the two
    touches             BIGINT           NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX oauthreg_login_sessions_session ON oauthreg_login_sessions (session_id);
CREATE INDEX oauthreg_login_sessions_subject ON oauthreg_login_sessions (subject, created_at);
CREATE INDEX oauthreg_login_sessions_expires_at ON oauthreg_login_sessions (expires_at);

-- The server's own signing keys. Never deleted by the store.
CREATE TABLE oauthreg_signing_keys (
    kid         TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    alg         TEXT COLLATE "C" NOT NULL,
    private_key BYTEA            NOT NULL, -- sealed PKCS #8
    created_at  BIGINT           NOT NULL,
    active_at   BIGINT,
    retired_at  BIGINT,
    expires_at  BIGINT,
    changes     BIGINT           NOT NULL
);

-- Counts of changes, by which a change that was made on older data is noticed.
CREATE TABLE oauthreg_counters (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    n    BIGINT           NOT NULL
);
INSERT INTO oauthreg_counters (name, n) VALUES ('signing_keys', 0);
