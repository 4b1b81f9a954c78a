-- A count of the updates and deletions of clients, by which a process notices
-- that another one made some.
INSERT INTO oauthreg_counters (name, n) VALUES ('clients', 0);
