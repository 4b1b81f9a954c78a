-- A client is found by its name within its owner: names that are to be unique in
-- a project are looked up at each registration.
ALTER TABLE oauthreg_clients ADD KEY oauthreg_clients_owner_name (name(191), org_id, project_id);
ALTER TABLE oauthreg_clients DROP KEY oauthreg_clients_name;

-- Names are searched in the order of a listing, without a look at each client.
ALTER TABLE oauthreg_clients ADD KEY oauthreg_clients_org_name (org_id, created_at, id, name_folded);
ALTER TABLE oauthreg_clients DROP KEY oauthreg_clients_org;
