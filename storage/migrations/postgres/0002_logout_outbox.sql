-- Clients that want to be told of the end of a sign-in session (OpenID Connect
-- Back-Channel Logout, Front-Channel Logout), and those that have to be told.

-- Who was let in on a session. Gone when it ends.
CREATE TABLE oauthreg_session_members (
    session_id     TEXT COLLATE "C" NOT NULL,
    client_id      TEXT COLLATE "C" NOT NULL, -- oauthreg_clients.id
    subject        TEXT COLLATE "C" NOT NULL,
    client_subject TEXT COLLATE "C" NOT NULL, -- the subject as the client knows it
    expires_at     BIGINT           NOT NULL,
    PRIMARY KEY (session_id, client_id)
);
CREATE INDEX oauthreg_session_members_expires_at ON oauthreg_session_members (expires_at);

-- Members of sessions that ended. A row is claimed by moving due_at to the end of
-- the lease, and is gone once the client was told or cannot be told any more.
CREATE TABLE oauthreg_logout_outbox (
    id             TEXT COLLATE "C" NOT NULL PRIMARY KEY, -- UUID: jti of the logout tokens
    session_id     TEXT COLLATE "C" NOT NULL,
    client_id      TEXT COLLATE "C" NOT NULL,
    subject        TEXT COLLATE "C" NOT NULL,
    client_subject TEXT COLLATE "C" NOT NULL,
    ended_at       BIGINT           NOT NULL,
    due_at         BIGINT           NOT NULL,
    attempts       BIGINT           NOT NULL,
    lease          TEXT COLLATE "C" NOT NULL,             -- random; empty: never claimed
    expires_at     BIGINT           NOT NULL
);
CREATE INDEX oauthreg_logout_outbox_due_at ON oauthreg_logout_outbox (due_at);
CREATE INDEX oauthreg_logout_outbox_expires_at ON oauthreg_logout_outbox (expires_at);
