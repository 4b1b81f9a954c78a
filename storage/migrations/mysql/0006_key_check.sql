-- One value that is sealed, by which a start with the wrong encryption key is noticed
-- whatever else is stored. It is written when it is first looked for.
CREATE TABLE IF NOT EXISTS oauthreg_key_check (
    name  VARBINARY(64)  NOT NULL PRIMARY KEY,
    value VARBINARY(255) NOT NULL              -- sealed
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Initial access tokens are swept some time after their end.
ALTER TABLE oauthreg_initial_access_tokens ADD KEY oauthreg_initial_access_tokens_expires_at (expires_at);
