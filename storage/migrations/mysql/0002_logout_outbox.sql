-- Clients that want to be told of the end of a sign-in session (OpenID Connect
-- Back-Channel Logout, Front-Channel Logout), and those that have to be told.

-- Who was let in on a session. Gone when it ends.
CREATE TABLE IF NOT EXISTS oauthreg_session_members (
    session_id     VARBINARY(255)  NOT NULL,
    client_id      VARBINARY(255)  NOT NULL, -- oauthreg_clients.id
    subject        VARBINARY(1020) NOT NULL,
    client_subject VARBINARY(1020) NOT NULL, -- the subject as the client knows it
    expires_at     BIGINT          NOT NULL,
    PRIMARY KEY (session_id, client_id),
    KEY oauthreg_session_members_expires_at (expires_at)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Members of sessions that ended. A row is claimed by moving due_at to the end of
-- the lease, and is gone once the client was told or cannot be told any more.
CREATE TABLE IF NOT EXISTS oauthreg_logout_outbox (
    id             VARBINARY(255)  NOT NULL PRIMARY KEY, -- UUID: jti of the logout tokens
    session_id     VARBINARY(255)  NOT NULL,
    client_id      VARBINARY(255)  NOT NULL,
    subject        VARBINARY(1020) NOT NULL,
    client_subject VARBINARY(1020) NOT NULL,
    ended_at       BIGINT          NOT NULL,
    due_at         BIGINT          NOT NULL,
    attempts       BIGINT          NOT NULL,
    lease          VARBINARY(64)   NOT NULL,             -- random; empty: never claimed
    expires_at     BIGINT          NOT NULL,
    KEY oauthreg_logout_outbox_due_at (due_at),
    KEY oauthreg_logout_outbox_expires_at (expires_at)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
