-- One value that is sealed, by which a start with the wrong encryption key is noticed
-- whatever else is stored. It is written when it is first looked for.
CREATE TABLE oauthreg_key_check (
    name  TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL              -- sealed
) WITHOUT ROWID;

-- Initial access tokens are swept some time after their end.
CREATE INDEX oauthreg_initial_access_tokens_expires_at ON oauthreg_initial_access_tokens (expires_at);
