-- A client is found by its name within its owner: names that are to be unique in
-- a project are looked up at each registration.
DROP INDEX oauthreg_clients_name;
CREATE INDEX oauthreg_clients_name ON oauthreg_clients (name, org_id, project_id, created_at, id);

-- Names are searched in the order of a listing, without a look at each client.
DROP INDEX oauthreg_clients_org;
CREATE INDEX oauthreg_clients_org ON oauthreg_clients (org_id, created_at, id, name_folded);
