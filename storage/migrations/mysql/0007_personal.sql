-- Who a code or a token is for stands in its sealed request alone, and who
-- registered a client in the client's sealed members: no query asks for either.
ALTER TABLE oauthreg_authorize_codes DROP COLUMN subject;
ALTER TABLE oauthreg_access_tokens DROP COLUMN subject;
ALTER TABLE oauthreg_refresh_tokens DROP COLUMN subject;
ALTER TABLE oauthreg_clients DROP COLUMN user_id;

-- Other columns are sealed from now on, by the program: interactions.subject,
-- session_members and logout_outbox (subject, client_subject), login_sessions (amr,
-- acr), audit_log (actor_id, actor_address), and the members contacts and user_id
-- in clients.data, initial_access_tokens.data and audit_log (before_json,
-- after_json). Rows that have them in clear are read, and Store.Reencrypt seals them.
-- What is sealed is longer.
ALTER TABLE oauthreg_interactions MODIFY subject VARBINARY(1536) NOT NULL;
ALTER TABLE oauthreg_session_members MODIFY subject VARBINARY(1536) NOT NULL;
ALTER TABLE oauthreg_session_members MODIFY client_subject VARBINARY(1536) NOT NULL;
ALTER TABLE oauthreg_logout_outbox MODIFY subject VARBINARY(1536) NOT NULL;
ALTER TABLE oauthreg_logout_outbox MODIFY client_subject VARBINARY(1536) NOT NULL;
ALTER TABLE oauthreg_login_sessions MODIFY acr VARBINARY(512) NOT NULL;
