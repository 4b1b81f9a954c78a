-- Codes and refresh tokens go with their grants, and access tokens with their own
-- end: no index finds them by what nobody asks for.
ALTER TABLE oauthreg_authorize_codes DROP KEY oauthreg_authorize_codes_expires_at;
ALTER TABLE oauthreg_refresh_tokens DROP KEY oauthreg_refresh_tokens_expires_at;

-- oauthreg_access_tokens_grant stays: MySQL has no index of some rows only.
