-- Which parts the names of clients have, by blocks of clients that follow each
-- other by id; see client_names.go. Blocks begin where others end; clients behind
-- the last are in none.
CREATE TABLE oauthreg_client_name_blocks (
    after_id TEXT COLLATE "C" NOT NULL,             -- the end of the block before; empty: the first
    last_id  TEXT COLLATE "C" NOT NULL PRIMARY KEY, -- the id at its end
    filter   BYTEA                                  -- of the parts of name_folded; NULL: any
);
