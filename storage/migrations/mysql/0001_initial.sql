-- The first schema.
--
-- "oauthreg_" stands for the configured prefix. Times are whole microseconds
-- since 1970 UTC; an end that does not come is 9223372036854775807. Digests are
-- SHA-256, 32 bytes. "Sealed" columns are AES-256-GCM, bound to their row; see
-- seal.go.
--
-- What is compared or ordered is VARBINARY: UTF-8, compared byte by byte. The
-- collations named _bin tell cases apart, but take "x" and "x " for equal.
--
-- Data definition commits by itself here. Each statement can be run again, so
-- that a migration that was interrupted is continued by running it.

-- Registered clients (RFC 7591). data is the whole client; the columns before
-- it are what listings select and order by.
CREATE TABLE IF NOT EXISTS oauthreg_clients (
    id                 VARBINARY(255)  NOT NULL PRIMARY KEY, -- internal, never on the wire
    client_id          VARBINARY(255)  NOT NULL,
    incarnation        BIGINT          NOT NULL,             -- random; tells a client from a later one with the same id
    revision           BIGINT          NOT NULL,             -- grows with every change of the row
    org_id             VARBINARY(255)  NOT NULL,
    project_id         VARBINARY(255)  NOT NULL,
    user_id            VARBINARY(255)  NOT NULL,
    name               VARBINARY(1024) NOT NULL,
    name_folded        VARBINARY(1024) NOT NULL,             -- ASCII letters lowered
    type               VARBINARY(64)   NOT NULL,
    grant_types        VARBINARY(1024) NOT NULL,             -- " authorization_code refresh_token "
    verified           BIGINT          NOT NULL,
    self_registered    BIGINT          NOT NULL,
    suspended_at       BIGINT,                               -- NULL: enabled
    created_at         BIGINT          NOT NULL,
    updated_at         BIGINT          NOT NULL,
    version            BIGINT          NOT NULL,
    data               MEDIUMTEXT      NOT NULL,             -- JSON of oauthreg.Client
    secrets            MEDIUMTEXT      NOT NULL,             -- JSON of []oauthreg.Secret: hashes, never secrets
    registration_token VARBINARY(64),                        -- digest (RFC 7592 §3)
    UNIQUE KEY oauthreg_clients_client_id (client_id),
    KEY oauthreg_clients_created_at (created_at, id),
    KEY oauthreg_clients_owner (org_id, project_id, created_at, id),
    KEY oauthreg_clients_org (org_id, created_at, id),
    KEY oauthreg_clients_self (self_registered, created_at, id),
    KEY oauthreg_clients_name (name(255))
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- When a client secret last authenticated. Apart from the clients, so that
-- noting it does not change a client's revision.
CREATE TABLE IF NOT EXISTS oauthreg_client_secret_uses (
    secret_id    VARBINARY(255) NOT NULL PRIMARY KEY,
    last_used_at BIGINT         NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Permissions to register (RFC 7591 §1.2).
CREATE TABLE IF NOT EXISTS oauthreg_initial_access_tokens (
    id         VARBINARY(255) NOT NULL PRIMARY KEY,
    digest     VARBINARY(64)  NOT NULL, -- the registry's own, keyed
    data       MEDIUMTEXT     NOT NULL, -- JSON of oauthreg.InitialAccessToken
    max_uses   BIGINT         NOT NULL, -- 0: any number
    uses       BIGINT         NOT NULL, -- this counts, not the one in data
    created_at BIGINT         NOT NULL,
    expires_at BIGINT         NOT NULL,
    UNIQUE KEY oauthreg_initial_access_tokens_digest (digest)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Who changed which client, written in the transaction of the change. Never
-- deleted by the store.
CREATE TABLE IF NOT EXISTS oauthreg_audit_log (
    id               VARBINARY(255) NOT NULL PRIMARY KEY, -- UUID version 7: in order of time
    at               BIGINT         NOT NULL,
    action           VARBINARY(64)  NOT NULL,
    actor_kind       VARBINARY(64)  NOT NULL,
    actor_id         TEXT           NOT NULL,
    actor_request_id TEXT           NOT NULL,
    actor_address    TEXT           NOT NULL,
    client_id        VARBINARY(255) NOT NULL,             -- oauthreg_clients.id, which may be gone
    org_id           VARBINARY(255) NOT NULL,
    project_id       VARBINARY(255) NOT NULL,
    before_json      MEDIUMTEXT,
    after_json       MEDIUMTEXT,
    KEY oauthreg_audit_log_client (client_id, id),
    KEY oauthreg_audit_log_owner (org_id, project_id, id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- What a user allowed a client, remembered. One row per client and subject; the
-- id follows from the two.
CREATE TABLE IF NOT EXISTS oauthreg_consents (
    id           VARBINARY(255)  NOT NULL PRIMARY KEY,
    client_id    VARBINARY(255)  NOT NULL, -- oauthreg_clients.id, as everywhere below
    subject      VARBINARY(1020) NOT NULL,
    scopes       TEXT            NOT NULL, -- JSON array
    resources    TEXT            NOT NULL, -- JSON array
    created_at   BIGINT          NOT NULL,
    last_used_at BIGINT          NOT NULL,
    uses         BIGINT          NOT NULL,
    UNIQUE KEY oauthreg_consents_client_subject (client_id, subject),
    KEY oauthreg_consents_subject (subject, created_at)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Authorizations: the parents of codes and tokens, which are worth nothing
-- unless this row says so. Revoking is setting revoked_at.
CREATE TABLE IF NOT EXISTS oauthreg_grants (
    id           VARBINARY(255)  NOT NULL PRIMARY KEY, -- the request id of all beneath
    client_id    VARBINARY(255)  NOT NULL,
    subject      VARBINARY(1020) NOT NULL,
    session_id   VARBINARY(255),                       -- sid of the sign-in
    consent_id   VARBINARY(255),
    scopes       TEXT            NOT NULL,             -- JSON array
    resources    TEXT            NOT NULL,             -- JSON array
    created_at   BIGINT          NOT NULL,
    last_used_at BIGINT          NOT NULL,
    expires_at   BIGINT          NOT NULL,
    revoked_at   BIGINT,
    uses         BIGINT          NOT NULL,
    KEY oauthreg_grants_client (client_id, created_at),
    KEY oauthreg_grants_subject (subject, created_at),
    KEY oauthreg_grants_session (session_id),
    KEY oauthreg_grants_consent (consent_id),
    KEY oauthreg_grants_expires_at (expires_at),
    KEY oauthreg_grants_revoked_at (revoked_at)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Authorization codes (RFC 6749 §4.1.2), each with its PKCE challenge and
-- OpenID Connect session. Used rows stay as long as their grant: finding one
-- used is how replay is noticed.
CREATE TABLE IF NOT EXISTS oauthreg_authorize_codes (
    signature  VARBINARY(32)   NOT NULL PRIMARY KEY, -- digest of the code's signature
    grant_id   VARBINARY(255)  NOT NULL,
    client_id  VARBINARY(255)  NOT NULL,
    subject    VARBINARY(1020) NOT NULL,
    request    MEDIUMBLOB      NOT NULL,             -- sealed storedRequest and session, see request_codec.go
    pkce       MEDIUMBLOB,                           -- the same for the PKCE handler's view (RFC 7636)
    openid     MEDIUMBLOB,                           -- the same for the OpenID Connect handler's view
    created_at BIGINT          NOT NULL,
    expires_at BIGINT          NOT NULL,
    used_at    BIGINT,
    KEY oauthreg_authorize_codes_grant (grant_id),
    KEY oauthreg_authorize_codes_expires_at (used_at, expires_at)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Access tokens. Those of client_credentials have no grant: their grant_id is
-- the request's id, and incarnation is that of the client they were issued to.
CREATE TABLE IF NOT EXISTS oauthreg_access_tokens (
    signature   VARBINARY(32)   NOT NULL PRIMARY KEY, -- digest of the token's signature
    grant_id    VARBINARY(255)  NOT NULL,
    client_id   VARBINARY(255)  NOT NULL,
    incarnation BIGINT,                               -- NULL: there is a grant
    subject     VARBINARY(1020) NOT NULL,
    request     MEDIUMBLOB      NOT NULL,             -- sealed
    created_at  BIGINT          NOT NULL,
    expires_at  BIGINT          NOT NULL,
    KEY oauthreg_access_tokens_grant (grant_id),
    KEY oauthreg_access_tokens_expires_at (expires_at)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Refresh tokens. Used rows stay as long as their grant, as with codes.
CREATE TABLE IF NOT EXISTS oauthreg_refresh_tokens (
    signature        VARBINARY(32)   NOT NULL PRIMARY KEY, -- digest of the token's signature
    grant_id         VARBINARY(255)  NOT NULL,
    client_id        VARBINARY(255)  NOT NULL,
    subject          VARBINARY(1020) NOT NULL,
    access_signature VARBINARY(32),                        -- digest; the access token issued beside it
    request          MEDIUMBLOB      NOT NULL,             -- sealed
    created_at       BIGINT          NOT NULL,
    expires_at       BIGINT          NOT NULL,
    first_used_at    BIGINT,
    used_times       BIGINT          NOT NULL,
    KEY oauthreg_refresh_tokens_grant (grant_id),
    KEY oauthreg_refresh_tokens_expires_at (first_used_at, expires_at)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Assertion ids that were used (RFC 7523 §3 item 7).
CREATE TABLE IF NOT EXISTS oauthreg_assertions (
    jti        VARBINARY(32) NOT NULL PRIMARY KEY, -- digest
    expires_at BIGINT        NOT NULL,
    KEY oauthreg_assertions_expires_at (expires_at)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Authorization requests that wait for a person. Finished rows stay until they
-- expire, so that a second submission is recognized.
CREATE TABLE IF NOT EXISTS oauthreg_interactions (
    handle      VARBINARY(32)   NOT NULL PRIMARY KEY, -- digest
    browser     VARBINARY(32),                        -- digest
    client_id   VARBINARY(255)  NOT NULL,
    subject     VARBINARY(1020) NOT NULL,
    session_id  VARBINARY(255)  NOT NULL,
    request     MEDIUMBLOB      NOT NULL,             -- sealed
    created_at  BIGINT          NOT NULL,
    expires_at  BIGINT          NOT NULL,
    finished_at BIGINT,
    KEY oauthreg_interactions_expires_at (expires_at)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Sessions of the built-in sign-in.
CREATE TABLE IF NOT EXISTS oauthreg_login_sessions (
    handle              VARBINARY(32)   NOT NULL PRIMARY KEY, -- digest of the cookie's value
    session_id          VARBINARY(255)  NOT NULL,             -- sid, not a credential
    subject             VARBINARY(1020) NOT NULL,
    auth_time           BIGINT,
    amr                 TEXT            NOT NULL,             -- JSON array
    acr                 VARBINARY(255)  NOT NULL,
    user_agent          TEXT            NOT NULL,
    created_at          BIGINT          NOT NULL,
    last_seen_at        BIGINT          NOT NULL,
    absolute_expires_at BIGINT          NOT NULL,
    idle_expires_at     BIGINT          NOT NULL,
    expires_at          BIGINT          NOT NULL,             -- the earlier of the two
    touches             BIGINT          NOT NULL DEFAULT 0,
    UNIQUE KEY oauthreg_login_sessions_session (session_id),
    KEY oauthreg_login_sessions_subject (subject, created_at),
    KEY oauthreg_login_sessions_expires_at (expires_at)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- The server's own signing keys. Never deleted by the store.
CREATE TABLE IF NOT EXISTS oauthreg_signing_keys (
    kid         VARBINARY(255) NOT NULL PRIMARY KEY,
    alg         VARBINARY(64)  NOT NULL,
    private_key MEDIUMBLOB     NOT NULL, -- sealed PKCS #8
    created_at  BIGINT         NOT NULL,
    active_at   BIGINT,
    retired_at  BIGINT,
    expires_at  BIGINT,
    changes     BIGINT         NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Counts of changes, by which a change that was made on older data is noticed.
CREATE TABLE IF NOT EXISTS oauthreg_counters (
    name VARBINARY(64) NOT NULL PRIMARY KEY,
    n    BIGINT        NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
INSERT IGNORE INTO oauthreg_counters (name, n) VALUES ('signing_keys', 0);
