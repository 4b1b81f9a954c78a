-- A client is found by its name within its owner: names that are to be unique in
-- a project are looked up at each registration.
DROP INDEX oauthreg_clients_name;
CREATE INDEX oauthreg_clients_name ON oauthreg_clients (name, org_id, project_id, created_at, id);
