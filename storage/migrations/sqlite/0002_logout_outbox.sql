-- Clients that want to be told of the end of a sign-in session (OpenID Connect
-- Back-Channel Logout, Front-Channel Logout), and those that have to be told.

-- Who was let in on a session. Gone when it ends.
CREATE TABLE oauthreg_session_members (
    session_id     TEXT    NOT NULL,
    client_id      TEXT    NOT NULL, -- oauthreg_clients.id
    subject        TEXT    NOT NULL,
    client_subject TEXT    NOT NULL, -- the subject as the client knows it
    expires_at     INTEGER NOT NULL,
    PRIMARY KEY (session_id, client_id)
) WITHOUT ROWID;
CREATE INDEX oauthreg_session_members_expires_at ON oauthreg_session_members (expires_at);

-- Members of sessions that ended. A row is claimed by moving due_at to the end of
-- the lease, and is gone once the client was told or cannot be told any more.
CREATE TABLE oauthreg_logout_outbox (
    id             TEXT    NOT NULL PRIMARY KEY, -- UUID: jti of the logout tokens
    session_id     TEXT    NOT NULL,
    client_id      TEXT    NOT NULL,
    subject        TEXT    NOT NULL,
    client_subject TEXT    NOT NULL,
    ended_at       INTEGER NOT NULL,
    due_at         INTEGER NOT NULL,
    attempts       INTEGER NOT NULL,
    lease          TEXT    NOT NULL,             -- random; empty: never claimed
    expires_at     INTEGER NOT NULL
);
CREATE INDEX oauthreg_logout_outbox_due_at ON oauthreg_logout_outbox (due_at);
CREATE INDEX oauthreg_logout_outbox_expires_at ON oauthreg_logout_outbox (expires_at);
